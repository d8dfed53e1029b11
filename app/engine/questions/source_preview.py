"""Source preview: the first rows of a dataset on the Hub, and how they are read."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Never

from app import contracts
from app.core.json_types import JsonObject
from app.data.findings.source_preview import SourcePreview, preview_source


@dataclass(frozen=True)
class Question(contracts.Question[SourcePreview, Never]):
    """request: as in app/data/findings/source_preview.py."""

    title = "Dataset preview"
    timeout = 300.0
    schedule = "at_once"

    request: JsonObject

    def answer(self) -> SourcePreview:
        return preview_source(self.request)
