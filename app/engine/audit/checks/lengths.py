"""Audit check of lengths in tokens: truncated rows, rows that lose their end token, and outliers."""

from __future__ import annotations

from typing import TYPE_CHECKING

from app.engine.audit.base import (
    AuditCheck,
    Finding,
    FlaggedRows,
    build_drop_remedy,
    build_finding,
    build_remedy,
    count_examples,
)
from app.engine.datasets.row_filter import truncation_length
from app.engine.tokens.eos_tokens import end_token_ids

if TYPE_CHECKING:
    import pyarrow
    from datasets import Dataset

    from app.engine.datasets.token_columns import TokenBatch
    from app.engine.job import Job
    from app.engine.tokens.tokenized_examples import BoolArray, IntArray

_LIMIT_MULTIPLE = 64  # tokens; a raised limit is a multiple of it
_OUTLIER_SPREADS = 4.0  # spreads of the log length from its median, and at least a factor of _OUTLIER_FACTOR
_OUTLIER_FACTOR = 4
_MAD_TO_SIGMA = 1.4826  # median absolute deviation -> standard deviation, for a normal distribution


class Check(AuditCheck):
    def __init__(self, job: Job, table: Dataset):
        super().__init__(job, table)
        self.limit, self.end_token_ids = truncation_length(job), end_token_ids(job)
        self.truncated, self.without_end = FlaggedRows(), FlaggedRows()
        self.chunks: list[
            tuple[IntArray, IntArray, IntArray]
        ] = []  # (row numbers, lengths, needed lengths) of each chunk

    def check_tokens(self, token_batches: list[TokenBatch], chunk: pyarrow.Table) -> None:
        import numpy

        first_row = token_batches[0].first_row
        longest = numpy.max([batch.lengths for batch in token_batches], axis=0)
        needed = numpy.max([tokens_until_trained(batch) for batch in token_batches], axis=0)
        self.chunks.append((self.row_numbers_where(first_row, longest > -1), longest, needed))
        if self.limit is None:
            return
        self.truncated.add_all(self.row_numbers_where(first_row, longest > self.limit))
        loses_end = numpy.zeros(len(longest), bool)
        for batch in token_batches:
            is_trained_end = batch.is_trained & numpy.isin(batch.token_ids, self.end_token_ids)
            has_more_ends = batch.count(is_trained_end) > batch.count(is_trained_end, self.limit)
            loses_end |= (batch.lengths > self.limit) & has_more_ends
        self.without_end.add_all(self.row_numbers_where(first_row, loses_end))

    @property
    def lengths(self) -> IntArray:
        """For each row the length in tokens of its longest text."""
        return self._concatenate(1)

    @property
    def needed_lengths(self) -> IntArray:
        """For each row the shortest maximum length at which each of its texts keeps a trained token."""
        return self._concatenate(2)

    def _concatenate(self, column: int) -> IntArray:
        import numpy

        return numpy.concatenate([chunk[column] for chunk in self.chunks]) if self.chunks else numpy.zeros(0, int)

    def findings(self) -> list[Finding]:
        return self._truncation_findings() + self._outlier_findings() if len(self.lengths) else []

    def _truncation_findings(self) -> list[Finding]:
        if self.limit is None or not self.truncated.count or "cut" in self.job.spec.drop:
            return []
        higher = raised_limit(self.lengths, self.limit)
        text = f"{count_examples(self.truncated.count, 'is', 'are')} cut off: longer than the maximum length of {self.limit:,} tokens."
        remedy = build_remedy(f"Raise the maximum length to {higher:,} tokens", knobs__max_length=higher)
        findings = [build_finding("cut", "careful", text, self.truncated, remedy)]
        if self.without_end.count:
            text = f"{count_examples(self.without_end.count, 'loses its', 'lose their')} end token: what is cut off so teaches the model not to stop."
            remedy = build_drop_remedy(self.job, "cut", "Leave out what is too long")
            findings.append(build_finding("lost_end", "careful", text, self.without_end, remedy))
        return findings

    def _outlier_findings(self) -> list[Finding]:
        import numpy

        log_lengths = numpy.log(numpy.maximum(self.lengths, 1))
        median = float(numpy.median(log_lengths))
        sigma = _MAD_TO_SIGMA * float(numpy.median(numpy.abs(log_lengths - median)))
        spread = max(_OUTLIER_SPREADS * sigma, float(numpy.log(_OUTLIER_FACTOR)))
        return [
            *self._outlier_finding("very_long", log_lengths > median + spread),
            *self._outlier_finding("very_short", log_lengths < median - spread),
        ]

    def _outlier_finding(self, name: str, is_outlier: BoolArray) -> list[Finding]:
        import numpy

        lengths = self.lengths
        outliers = FlaggedRows()
        outliers.add_all(self._concatenate(0)[is_outlier])
        if not outliers.count:
            return []
        comparative, superlative, extreme = (
            ("longer", "longest", lengths[is_outlier].max())
            if name == "very_long"
            else ("shorter", "shortest", lengths[is_outlier].min())
        )
        range_text = f"the {superlative} has {extreme:,} tokens, half have at most {int(numpy.median(lengths)):,}"
        text = f"{count_examples(outliers.count, 'is', 'are')} far {comparative} than the others: {range_text}."
        return [build_finding(name, "careful", text, outliers)]


def tokens_until_trained(batch: TokenBatch) -> IntArray:
    """Tokens of each text up to and including its first trained one; its length plus one where none is trained."""
    import numpy

    trained_positions = numpy.append(numpy.flatnonzero(batch.is_trained), len(batch.token_ids))
    first_trained = trained_positions[numpy.searchsorted(trained_positions, batch.starts[:-1])]
    return numpy.minimum(first_trained, batch.starts[1:]) - batch.starts[:-1] + batch.prompt_lengths + 1


def raised_limit(lengths: IntArray, limit: int) -> int:
    """A limit above the present one that keeps 99 of 100 rows whole, or all rows where that would not be above it."""
    import numpy

    for needed in (int(numpy.percentile(lengths, 99, method="inverted_cdf")), int(lengths.max())):
        if needed > limit:
            return -(-needed // _LIMIT_MULTIPLE) * _LIMIT_MULTIPLE
    return limit
