"""Audit check of the share of tokens that are trained, and of rows without any trained token."""

from __future__ import annotations

from typing import TYPE_CHECKING

from app.engine.audit.base import (
    AuditCheck,
    Finding,
    FlaggedRows,
    build_drop_remedy,
    build_finding,
    count_examples,
)
from app.engine.masking.masked_dataset import NOTES

if TYPE_CHECKING:
    import pyarrow
    from datasets import Dataset

    from app.engine.datasets.token_columns import TokenBatch
    from app.engine.job import Job

_LOW_SHARE = 0.02  # of all tokens: below it most of the time goes into tokens that are only read


class Check(AuditCheck):
    def __init__(self, job: Job, table: Dataset):
        super().__init__(job, table)
        self.token_count = self.trained_count = 0
        self.untrained = FlaggedRows()
        self.rows_by_note: dict[str, FlaggedRows] = {}

    def check_tokens(self, token_batches: list[TokenBatch], chunk: pyarrow.Table) -> None:
        import numpy

        first_row = token_batches[0].first_row
        limit = getattr(self.job.knobs, "max_length", None)
        self.token_count += int(sum(batch.lengths.sum() for batch in token_batches))
        self.trained_count += int(sum(batch.count(batch.is_trained).sum() for batch in token_batches))
        fewest = numpy.min([batch.count(batch.is_trained, limit) for batch in token_batches], axis=0)
        self.untrained.add_all(self.row_numbers_where(first_row, fewest == 0))
        if "notes" in chunk.column_names:
            self._collect_notes(chunk.column("notes").to_pylist(), first_row)

    def _collect_notes(self, notes_by_row: list[list[str] | None], first_row: int) -> None:
        for position, notes in enumerate(notes_by_row, first_row):
            index = position if self.row_indices is None else int(self.row_indices[position])
            for note in notes or ():
                self.rows_by_note.setdefault(note, FlaggedRows()).add(index + 1)

    def findings(self) -> list[Finding]:
        if not self.token_count or self.job.kind != "causal":
            return []
        findings = [self._share_finding()]
        if self.untrained.count and "untrained" not in self.job.spec.drop:
            text = f"{count_examples(self.untrained.count, 'has', 'have')} nothing to learn within the maximum length."
            remedy = build_drop_remedy(self.job, "untrained", "Leave them out")
            findings.append(build_finding("untrained", "wrong", text, self.untrained, remedy))
        for note, rows in self.rows_by_note.items():
            some = f"In {rows.count:,} example{'' if rows.count == 1 else 's'},"
            findings.append(build_finding(f"mask_{note}", "careful", NOTES[note].format(some=some), rows))
        return findings

    def _share_finding(self) -> Finding:
        share = self.trained_count / self.token_count
        if share > _LOW_SHARE:
            text = f"{share * 100:.0f} % of all tokens are learned: {self.trained_count:,} of {self.token_count:,}."
            return build_finding("share", "good", text)
        text = f"Only {share * 100:.1f} % of all tokens are learned; the others are only read."
        return build_finding("share", "careful", text)
