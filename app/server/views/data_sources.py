"""Data: what the form asks about examples: their first rows and how they are read, and what a dataset on the Hub offers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from app.core.problems import Problem
from app.data import source_preview
from app.hub import identity
from app.setup.spec import HUB
from app.worker.client import Worker


def asks_of(worker: Worker) -> list[Callable[..., Any]]:
    """The functions, by the names under which the form calls them. Each raises Problem."""

    def look(about: dict[str, Any]) -> dict[str, Any]:
        source = str(about["source"].get("source", ""))
        if source.startswith("path:") and identity.in_space():
            raise Problem("A Space takes no file of the machine it runs on.", advice="Upload the file.")
        return worker.look(about) if source.startswith("hub:") else source_preview.look(about)

    def offered(about: dict[str, Any]) -> dict[str, Any]:
        """The parts of a dataset on the Hub, and the splits of one."""
        name = str(about["name"])
        if not HUB.fullmatch(name):
            raise Problem(f"“{name[:80]}” is no name on the Hub.", advice="Write it as owner/name.")
        return worker.offered(name, about.get("revision"), about.get("config"))

    return [look, offered]
