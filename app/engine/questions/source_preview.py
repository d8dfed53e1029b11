"""Source preview: the first rows of a dataset on the Hub, and how they are read."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Never

from app import contracts
from app.data.source_preview import preview_source


@dataclass(frozen=True)
class Question(contracts.Question[dict[str, Any], Never]):
    """about: as in app/data/source_preview.py."""

    title = "Dataset preview"
    timeout = 300.0
    schedule = "at_once"

    about: dict[str, Any]

    def answer(self) -> dict[str, Any]:
        return preview_source(self.about)
