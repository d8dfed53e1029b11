"""Server functions of the form about data: preview of a source, and configs and splits of a dataset on the Hub."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from app.core import platform
from app.core.problems import Problem
from app.data import source_preview
from app.setup.spec import HUB_NAME
from app.worker.client import WorkerClient


def data_source_functions(worker: WorkerClient) -> list[Callable[..., Any]]:
    """The functions; the form calls them by name. Each may raise Problem."""

    def look(request: dict[str, Any]) -> dict[str, Any]:
        source = str(request["source"].get("source", ""))
        if source.startswith("path:") and platform.is_space():
            raise Problem("A Space takes no file of the machine it runs on.", advice="Upload the file.")
        return worker.preview_source(request) if source.startswith("hub:") else source_preview.preview_source(request)

    def offered(request: dict[str, Any]) -> dict[str, Any]:
        """The configs of a dataset on the Hub, and the splits of one config."""
        dataset_id = str(request["name"])
        if not HUB_NAME.fullmatch(dataset_id):
            raise Problem(f"“{dataset_id[:80]}” is no name on the Hub.", advice="Write it as owner/name.")
        return worker.list_configs(dataset_id, request.get("revision"), request.get("config"))

    return [look, offered]
