"""Audit check of answers that teach nothing: preference pairs with equal answers, and answers that the prompt already contains."""

from __future__ import annotations

from typing import TYPE_CHECKING

from app.engine.audit.base import (
    AuditCheck,
    AuditedRow,
    Finding,
    FlaggedRows,
    build_drop_remedy,
    build_finding,
    count_examples,
)
from app.engine.datasets.row_filter import has_identical_answers, leaks_answer

if TYPE_CHECKING:
    from datasets import Dataset

    from app.engine.job import Job


class Check(AuditCheck):
    def __init__(self, job: Job, table: Dataset):
        super().__init__(job, table)
        self.identical, self.leaked = FlaggedRows(), FlaggedRows()

    def check_row(self, audited_row: AuditedRow) -> None:
        if has_identical_answers(audited_row.row):
            self.identical.add(audited_row.number)
        if leaks_answer(audited_row.row):
            self.leaked.add(audited_row.number)

    def findings(self) -> list[Finding]:
        findings = []
        if count := self.identical.count:
            text = f"The two answers of {count_examples(count, 'say', 'say')} the same, so there is nothing to prefer."
            remedy = build_drop_remedy(self.job, "same", "Leave them out")
            findings.append(build_finding("same", "wrong", text, self.identical, remedy))
        if count := self.leaked.count:
            text = f"{count_examples(count, 'has its', 'have their')} answer in the question already: the model may learn to copy. Right where it should quote."
            remedy = build_drop_remedy(self.job, "leaks", "Leave them out")
            findings.append(build_finding("leaks", "careful", text, self.leaked, remedy))
        return findings
