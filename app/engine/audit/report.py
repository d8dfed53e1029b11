"""Report of the audit: its fields, and how it is made of what the checks found."""

from __future__ import annotations

from typing import TYPE_CHECKING, NotRequired, TypedDict, TypeVar

from app.contracts import Finding
from app.engine.audit.base import AuditCheck, AuditedRow, iterate_rows
from app.engine.audit.checks import lengths, trained_share
from app.engine.datasets import row_filter
from app.engine.preview import packing_stats
from app.engine.tokens.secrets import redact_text

if TYPE_CHECKING:
    from app.engine.contracts import Trainer
    from app.engine.job import Job
    from app.engine.preview.packing_stats import TrainingCost
    from app.engine.run_manifest import TokenTotals
    from app.engine.tokens.tokenized_examples import IntArray

_SOURCE_ROW_FINDINGS = ("left_out", "unreadable_rows", "encoding", "refused", "unread_marks")
_EXAMPLES_PER_FINDING = 5  # rows of a finding whose text is shown
_EXAMPLE_CHARACTERS = 400  # of each of them
_MAX_LENGTH_BINS = 2_000  # of the length histogram; where there are more lengths, its bins become wider
_SEVERITY_ORDER = {"wrong": 0, "careful": 1, "good": 2}
# Findings that the page counts in any case, also when there are none.
_COUNTED_FINDINGS = (
    *("cut", "lost_end", "end_untrained", "no_end", "double_begin"),
    *("empty_turn", "alternation", "duplicates", "held_out"),
)

_CheckT = TypeVar("_CheckT", bound=AuditCheck)


class DroppedRows(TypedDict):
    """Rows left out of training for one reason. rows: the first of them, by their numbers in their file."""

    reason: str
    count: int
    rows: list[int]


class AuditedLengths(TypedDict):
    """Lengths in tokens before truncation.

    counts: [[tokens, rows], …]. needed: the same for the tokens that a row needs to train anything. At any limit C, the
    truncated rows are the sum of rows with tokens > C in `counts`, and the rows without a trained token the same sum in
    `needed`. width: of a bin, which stands for its largest length. limit: where rows are truncated, None where none
    is. maximum: the setting.
    """

    counts: list[list[int]]
    needed: list[list[int]]
    width: int
    limit: int | None
    maximum: int | None
    longest: int
    median: int
    p99: int
    total: int


class AuditReport(TypedDict):
    """The report of an audit.

    rows, held_out: counts of rows. eval_sets: {name: rows}. tokens: of one epoch before truncation, None where a method makes its tokens during
    training. counts: {id of a finding: rows}, also of those that found none. findings: the gravest first. Row numbers
    count from 1 among the training rows; those of _SOURCE_ROW_FINDINGS count in their file. examples: {number:
    beginning of that row's text} for the first rows of each finding, secrets redacted. seconds: the duration. again:
    the same rows and settings were audited before.
    """

    rows: int
    held_out: int
    eval_sets: dict[str, int]
    dropped: list[DroppedRows]
    tokens: TokenTotals | None
    counts: dict[str, int | None]
    lengths: AuditedLengths | None
    cost: TrainingCost
    findings: list[Finding]
    examples: dict[str, str]
    seconds: NotRequired[float]
    again: NotRequired[bool]


def build_report(job: Job, trainer: Trainer, checks: list[AuditCheck]) -> AuditReport:
    """The report; the checks of lengths and of the trained share also give numbers of their own."""
    length_check, share_check = _check_of(checks, lengths.Check), _check_of(checks, trained_share.Check)
    cost, cost_findings = packing_stats.measure_padding(job, trainer, length_check.lengths)
    findings = [finding for check in checks for finding in check.findings()] + cost_findings
    findings.sort(key=lambda finding: (_SEVERITY_ORDER[finding["severity"]], -finding["count"]))
    has_tokens = share_check.token_count > 0
    return {
        "rows": row_filter.count_trained_rows(job),
        "held_out": len(job.data.holdout),
        "eval_sets": {name: len(rows) for name, rows in job.data.eval_sets.items()},
        "dropped": [
            {"reason": reason, "count": count, "rows": job.data.dropped_row_numbers.get(reason, [])}
            for reason, count in job.data.dropped.items()
        ],
        "tokens": {"all": share_check.token_count, "trained": share_check.trained_count} if has_tokens else None,
        "counts": _finding_counts(findings, share_check.untrained.count if has_tokens else None),
        "lengths": _length_histogram(job, length_check),
        "cost": cost,
        "findings": findings,
        "examples": _example_texts(job, findings),
    }


def _check_of(checks: list[AuditCheck], check_class: type[_CheckT]) -> _CheckT:
    return next(check for check in checks if isinstance(check, check_class))


def _finding_counts(findings: list[Finding], untrained: int | None) -> dict[str, int | None]:
    """Rows of the findings that the page counts in any case."""
    counts: dict[str, int | None] = {
        name: next((finding["count"] for finding in findings if finding["id"] == name), 0) for name in _COUNTED_FINDINGS
    }
    return counts | {"untrained": untrained}


def _length_histogram(job: Job, length_check: lengths.Check) -> AuditedLengths | None:
    """How many rows have each length, and how many need at least that many tokens to train anything. With both, the page computes
    what any other limit would cut off."""
    import numpy

    token_counts = length_check.lengths
    if not len(token_counts):
        return None
    width = 1
    while len(numpy.unique(-(-token_counts // width))) > _MAX_LENGTH_BINS:
        width *= 2

    def histogram(text_lengths: IntArray) -> list[list[int]]:
        bins, row_counts = numpy.unique(-(-text_lengths // width) * width, return_counts=True)
        return [[int(tokens), int(rows)] for tokens, rows in zip(bins, row_counts, strict=True)]

    return {
        "counts": histogram(token_counts),
        "needed": histogram(length_check.needed_lengths),
        "width": width,
        "limit": length_check.limit,
        "maximum": getattr(job.knobs, "max_length", None),
        "longest": int(token_counts.max()),
        "median": int(numpy.median(token_counts)),
        "p99": int(numpy.percentile(token_counts, 99, method="inverted_cdf")),
        "total": int(token_counts.sum()),
    }


def _example_texts(job: Job, findings: list[Finding]) -> dict[str, str]:
    """{row number: beginning of the row's text} for the first rows of each finding, secrets redacted. Rows that were left out are
    not in the table, so they have no text here."""
    row_numbers = sorted(
        {
            number
            for finding in findings
            if finding["id"] not in _SOURCE_ROW_FINDINGS
            for number in finding["rows"][:_EXAMPLES_PER_FINDING]
            if 0 < number <= len(job.data.train)
        }
    )
    if not row_numbers:
        return {}
    rows = iterate_rows(job.data.train, {"images"}, [number - 1 for number in row_numbers])
    texts = {}
    for number, row in zip(row_numbers, rows, strict=True):
        # Twice as much is redacted: a secret at the edge must not show because it is cut in two.
        redacted = redact_text(AuditedRow(number, row).text[: 2 * _EXAMPLE_CHARACTERS])
        texts[str(number)] = redacted[:_EXAMPLE_CHARACTERS]
    return texts
