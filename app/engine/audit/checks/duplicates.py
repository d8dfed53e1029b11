"""Audit check of rows that occur more than once, or that are also held out."""

from __future__ import annotations

import math
from collections import Counter
from typing import TYPE_CHECKING

from app.engine.audit.base import (
    AuditCheck,
    AuditedRow,
    Finding,
    FlaggedRows,
    Severity,
    build_drop_remedy,
    build_finding,
    count_examples,
)

if TYPE_CHECKING:
    from datasets import Dataset

    from app.engine.job import Job


class Check(AuditCheck):
    def __init__(self, job: Job, table: Dataset):
        super().__init__(job, table)
        self.occurrences: Counter[bytes] = Counter()
        self.max_repeats = max(math.ceil(source.weight) for source in job.spec.data)  # a weight repeats rows on purpose
        self.repeated, self.also_held_out = FlaggedRows(), FlaggedRows()
        self.held_out_hashes: set[bytes] = set()

    def check_held_out_row(self, audited_row: AuditedRow) -> None:
        self.held_out_hashes.add(audited_row.row_hash)

    def check_row(self, audited_row: AuditedRow) -> None:
        self.occurrences[audited_row.row_hash] += 1
        if self.occurrences[audited_row.row_hash] > self.max_repeats:
            self.repeated.add(audited_row.number)
        if audited_row.row_hash in self.held_out_hashes:
            self.also_held_out.add(audited_row.number)

    def findings(self) -> list[Finding]:
        findings = []
        if count := self.repeated.count:
            severity: Severity = "wrong" if count > self.row_count / 2 else "careful"
            text = f"{count_examples(count, 'repeats another', 'repeat others')} word for word: the model learns them more often than the rest."
            remedy = build_drop_remedy(self.job, "duplicates", "Keep one of each")
            findings.append(build_finding("duplicates", severity, text, self.repeated, remedy))
        if count := self.also_held_out.count:
            text = f"{count_examples(count, 'is', 'are')} also kept aside to test on: the test would look better than the model is."
            remedy = build_drop_remedy(self.job, "held_out", "Learn only from the others")
            findings.append(build_finding("held_out", "wrong", text, self.also_held_out, remedy))
        return findings
