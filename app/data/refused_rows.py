"""Rows that cannot be used as they are, and that are left out only where the person allows it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from app.contracts import Finding, Remedy
from app.core.problems import Problem, shorten
from app.data.fields import Row
from app.setup.spec import Source, Spec

TEMPLATE_REFUSES = "the chat format refuses it"
_MAX_LISTED = 20  # row numbers of a finding


@dataclass
class _Refusal:
    """The refused rows of one source with one reason. numbers: of the rows in their source, each once although a source
    may be read several times."""

    source: Source
    reason: str
    numbers: dict[int, None] = field(default_factory=dict)


@dataclass
class RefusedRows:
    """The refused rows of all sources, by reason.

    raises: a refused row is an error, as in a run; otherwise it is left out and reported as wrong, as in a preview.
    drop: as in a Spec. refuses: why the chat format refuses a normalized row, in a few words; empty where it does not.
    """

    raises: bool = False
    drop: Sequence[str] = ()
    refuses: Callable[[Row], str] | None = None
    refusals: dict[tuple[str, str], _Refusal] = field(default_factory=dict)

    def template_refusal(self, row: Row) -> str:
        """Why the chat format refuses this row, as a reason for which rows are left out; empty where it does not."""
        refusal = self.refuses(row) if self.refuses else ""
        return f"{TEMPLATE_REFUSES} ({refusal})" if refusal else ""

    def is_allowed(self, source: Source, reason: str) -> bool:
        """Whether the person has said that rows with this reason are left out."""
        return "refused" in self.drop if reason.startswith(TEMPLATE_REFUSES) else source.skip_bad

    def add(self, source: Source, number: int, reason: str) -> None:
        """Notes a row that nobody allowed to leave out. number: of the row in its source, from 1. Raises Problem where
        refused rows are errors."""
        if self.raises:
            raise refused_row_problem(number, reason)
        refusal = self.refusals.setdefault((source.source, str(reason)), _Refusal(source, reason))
        refusal.numbers[number] = None

    def require_none(self) -> None:
        """Raises Problem for the first refused row."""
        for refusal in self.refusals.values():
            raise refused_row_problem(next(iter(refusal.numbers)), refusal.reason)

    def findings(self, spec: Spec) -> list[Finding]:
        """A finding for each reason, which is wrong until the rows are mended or the person leaves them out."""
        return [self._finding(refusal, spec) for refusal in self.refusals.values()]

    def _finding(self, refusal: _Refusal, spec: Spec) -> Finding:
        source_index = next((i for i, source in enumerate(spec.data) if source == refusal.source), None)
        return refused_rows_finding([*refusal.numbers], refusal.reason, source_index, self.drop)


def refused_rows_finding(
    numbers: Sequence[int], reason: str, source_index: int | None, drop: Sequence[str] = ()
) -> Finding:
    """The finding on rows that are refused for one reason, with the remedy that leaves them out.

    numbers: of these rows, from 1. source_index: of their source in the Spec; None for one that has no setting.
    """
    count, pronoun = len(numbers), "it" if len(numbers) == 1 else "them"
    subject = f"Row {numbers[0]} cannot" if count == 1 else f"{count:,} rows, first row {numbers[0]}, cannot"
    title = "Leave it out" if count == 1 else f"Leave these {count:,} out"
    remedy: Remedy | None = None
    if reason.startswith(TEMPLATE_REFUSES):
        remedy = {"title": title, "changes": {"drop": [*drop, "refused"]}}
    elif source_index is not None:
        remedy = {"title": title, "changes": {f"data.{source_index}.skip_bad": True}}
    return {
        "id": "refused",
        "severity": "wrong",
        "text": f"{subject} be used: {reason}. A run stops there: mend {pronoun}, or leave {pronoun} out.",
        "count": count,
        "rows": [*numbers][:_MAX_LISTED],
        "remedy": remedy,
    }


def refused_row_problem(number: int, reason: str) -> Problem:
    """The error of a run for the first row that is refused."""
    if reason.startswith(TEMPLATE_REFUSES):
        advice = "Mend it, choose another chat format, or leave such rows out (drop: refused)."
    else:
        advice = "Mend it, or leave out rows that cannot be read (skip_bad)."
    return Problem(f"Row {number} cannot be used: {shorten(reason, 240)}.", advice=advice, reason="refused_row")
