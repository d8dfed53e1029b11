"""Audit check of personal data: card and account numbers, telephone numbers and addresses that a model may repeat."""

from __future__ import annotations

from typing import TYPE_CHECKING

from app.engine.audit.base import AuditCheck, AuditedRow, Finding, FlaggedRows, build_finding, count_examples
from app.engine.tokens.personal_data import KINDS, find_personal_data
from app.engine.tokens.secrets import redact_secret

if TYPE_CHECKING:
    from datasets import Dataset

    from app.engine.job import Job


class Check(AuditCheck):
    def __init__(self, job: Job, table: Dataset):
        super().__init__(job, table)
        self.rows_by_kind: dict[str, FlaggedRows] = {}
        self.redacted_examples: dict[str, str] = {}

    def check_row(self, audited_row: AuditedRow) -> None:
        first_by_kind: dict[str, str] = {}
        for kind, match in find_personal_data(audited_row.text):
            first_by_kind.setdefault(kind, match)
        for kind, match in first_by_kind.items():
            self.rows_by_kind.setdefault(kind, FlaggedRows()).add(audited_row.number)
            self.redacted_examples.setdefault(kind, redact_secret(match))

    def findings(self) -> list[Finding]:
        return [self._finding(kind, must_go) for kind, (_, must_go) in KINDS.items() if kind in self.rows_by_kind]

    def _finding(self, kind: str, must_go: bool) -> Finding:
        rows = self.rows_by_kind[kind]
        seen = f"{count_examples(rows.count, 'holds', 'hold')} what looks like {kind} ({self.redacted_examples[kind]})."
        advice = (
            "Take it out of the file: the model may say it to anybody."
            if must_go
            else "The model may say it to anybody."
        )
        return build_finding("personal", "wrong" if must_go else "careful", f"{seen} {advice}", rows)
