"""Batches: the first batches in training order, over the complete data, as tokens."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Never

from app import contracts
from app.setup.spec import Spec

if TYPE_CHECKING:
    from app.engine.preview.page_types import BatchesPreview


@dataclass(frozen=True)
class Question(contracts.Question["BatchesPreview", Never]):
    """batches: how many."""

    title = "Batches"
    timeout = 600.0
    schedule = "at_once"

    spec: Spec
    batches: int = 3

    def answer(self) -> BatchesPreview:
        from app.engine.preview.row_preview import preview_batches

        return preview_batches(self.spec, self.batches)
