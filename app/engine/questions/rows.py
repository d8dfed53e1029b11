"""Rows: the first rows of a setup, or chosen ones, as tokens with the reason why each is trained or only read."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Never

from app import contracts
from app.setup.spec import Spec

if TYPE_CHECKING:
    from app.engine.preview.page_types import RowsPreview


@dataclass(frozen=True)
class Question(contracts.Question["RowsPreview", Never]):
    """rows: how many. numbers: these rows instead of the first ones, counted from 1 as the audit counts them."""

    title = "Rows"
    timeout = 300.0
    schedule = "at_once"

    spec: Spec
    rows: int = 50
    numbers: tuple[int, ...] = ()

    def answer(self) -> RowsPreview:
        from app.engine.preview.row_preview import preview_rows

        return preview_rows(self.spec, self.rows, self.numbers)
