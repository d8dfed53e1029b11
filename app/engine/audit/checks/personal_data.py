"""Audit check of personal data: card and account numbers, telephone numbers and addresses that a model may repeat."""

from __future__ import annotations

from typing import TYPE_CHECKING

from app.engine.audit.base import AuditCheck, AuditedRow, Finding, FlaggedMatches
from app.engine.tokens.personal_data import KINDS, find_personal_data

if TYPE_CHECKING:
    from datasets import Dataset

    from app.engine.job import Job


class Check(AuditCheck):
    def __init__(self, job: Job, table: Dataset):
        super().__init__(job, table)
        self.flagged = FlaggedMatches()

    def check_row(self, audited_row: AuditedRow) -> None:
        self.flagged.add_row(audited_row.number, find_personal_data(audited_row.text))

    def findings(self) -> list[Finding]:
        return [
            self.flagged.finding("personal", kind, "wrong" if must_go else "careful")
            for kind, (_, must_go) in KINDS.items()
            if kind in self.flagged.rows_by_kind
        ]
