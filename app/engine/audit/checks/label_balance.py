"""Audit check of labels: whether both kinds occur among ratings or judged steps, and how often each does."""

from __future__ import annotations

from typing import TYPE_CHECKING

from app.engine.audit.base import AuditCheck, AuditedRow, Finding, FlaggedRows, build_finding

if TYPE_CHECKING:
    from datasets import Dataset

    from app.engine.job import Job

_RARE_SHARE = 0.1  # of all labels


class Check(AuditCheck):
    def __init__(self, job: Job, table: Dataset):
        super().__init__(job, table)
        self.rows_by_label = {True: FlaggedRows(), False: FlaggedRows()}

    def check_row(self, audited_row: AuditedRow) -> None:
        label = audited_row.row.get("label")
        step_labels = audited_row.row.get("labels") if "completions" in audited_row.row else None
        labels = [label] if isinstance(label, bool) else step_labels or ()
        for label in labels:
            if label in (0, 1):  # also true and false; a step that is only read has neither
                self.rows_by_label[bool(label)].add(audited_row.number)

    def findings(self) -> list[Finding]:
        good, bad = self.rows_by_label[True].count, self.rows_by_label[False].count
        if not good + bad:
            return []
        has_steps = "labels" in self.job.data.train.column_names
        good_phrase, bad_phrase = ("steps are right", "wrong") if has_steps else ("answers are liked", "disliked")
        text = f"{good:,} {good_phrase} and {bad:,} {bad_phrase}."
        rarer = self.rows_by_label[good < bad]
        if not rarer.count:
            return [build_finding("labels", "wrong", f"{text} With one kind alone there is nothing to tell apart.")]
        if rarer.count / (good + bad) < _RARE_SHARE:
            return [build_finding("labels", "careful", f"{text} The rarer kind may be learned too little.", rarer)]
        return [build_finding("labels", "good", text)]
