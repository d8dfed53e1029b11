"""Server functions of the form about data: preview of a source, and configs and splits of a dataset on the Hub."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NotRequired, TypedDict

import gradio as gr

from app.core import platform
from app.core.problems import Problem
from app.data.findings import source_preview
from app.server.abandoned import abandonment
from app.setup.sources import HUB_NAME
from app.worker.client import WorkerClient


class DatasetRequest(TypedDict):
    """A dataset on the Hub. config: the one whose splits are asked for."""

    name: str
    revision: NotRequired[str | None]
    config: NotRequired[str | None]


def data_source_functions(worker: WorkerClient) -> list[Callable[..., Any]]:
    """The functions; the form calls them by name. Each may raise Problem."""

    def preview_source(request: dict[str, Any], browser: gr.Request | None = None) -> source_preview.SourcePreview:
        source = str(request["source"].get("source", ""))
        if source.startswith("path:") and not platform.takes_local_files():
            raise Problem("This page takes no file of the machine it runs on.", advice="Upload the file.")
        if source.startswith("hub:"):
            return worker.while_wanted(abandonment(browser)).preview_source(request)
        return worker.bounded_calls.call("preview_source", request, is_abandoned=abandonment(browser))

    def list_dataset_configs(request: DatasetRequest, browser: gr.Request | None = None) -> dict[str, list[str]]:
        """The configs of a dataset on the Hub, and the splits of one config."""
        dataset_id = str(request["name"])
        if not HUB_NAME.fullmatch(dataset_id):
            raise Problem(f"“{dataset_id[:80]}” is no name on the Hub.", advice="Write it as owner/name.")
        wanted_worker = worker.while_wanted(abandonment(browser))
        return wanted_worker.list_configs(dataset_id, request.get("revision"), request.get("config"))

    return [preview_source, list_dataset_configs]
