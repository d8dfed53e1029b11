"""Audit check of rows that occur more than once, or that are also held out, or in an evaluation set."""

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
from app.setup.sources import HELD_OUT_SET

if TYPE_CHECKING:
    from datasets import Dataset

    from app.engine.job import Job


class Check(AuditCheck):
    def __init__(self, job: Job, table: Dataset):
        super().__init__(job, table)
        self.occurrences: Counter[bytes] = Counter()
        self.max_repeats = max(math.ceil(source.weight) for source in job.spec.data)  # a weight repeats rows on purpose
        self.repeated, self.also_evaluated = FlaggedRows(), FlaggedRows()
        self.sets_by_hash: dict[bytes, set[str]] = {}
        self.trained_sets: dict[str, None] = {}  # in which a training row occurs

    def check_evaluated_row(self, audited_row: AuditedRow, set_name: str) -> None:
        self.sets_by_hash.setdefault(audited_row.row_hash, set()).add(set_name)

    def check_row(self, audited_row: AuditedRow) -> None:
        self.occurrences[audited_row.row_hash] += 1
        if self.occurrences[audited_row.row_hash] > self.max_repeats:
            self.repeated.add(audited_row.number)
        if set_names := self.sets_by_hash.get(audited_row.row_hash):
            self.also_evaluated.add(audited_row.number)
            self.trained_sets |= dict.fromkeys(sorted(set_names))

    def findings(self) -> list[Finding]:
        findings = []
        if count := self.repeated.count:
            severity: Severity = "wrong" if count > self.row_count / 2 else "careful"
            text = f"{count_examples(count, 'repeats another', 'repeat others')} word for word: the model learns them more often than the rest."
            remedy = build_drop_remedy(self.job, "duplicates", "Keep one of each")
            findings.append(build_finding("duplicates", severity, text, self.repeated, remedy))
        if count := self.also_evaluated.count:
            names = [f"“{name}”" for name in self.trained_sets if name != HELD_OUT_SET]
            places = ["kept aside to test on"] * (HELD_OUT_SET in self.trained_sets)
            places += [f"in the evaluation set{'s' if len(names) > 1 else ''} {', '.join(names)}"] if names else []
            text = f"{count_examples(count, 'is', 'are')} also {' or '.join(places)}: the test would look better than the model is."
            remedy = build_drop_remedy(self.job, "held_out", "Learn only from the others")
            findings.append(build_finding("held_out", "wrong", text, self.also_evaluated, remedy))
        return findings
