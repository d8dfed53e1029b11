"""Rows that cannot be used as they are, and that are left out only where the person allows it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from app.contracts import Finding, Remedy
from app.core.problems import Problem, shorten
from app.data.fields import Row
from app.data.reading.files import display_name
from app.data.row_finding import make_finding
from app.setup.sources import EvalSet, Source
from app.setup.spec import Spec

TEMPLATE_REFUSES = "the chat format refuses it"


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
    spec: whose sources these are; None where only one source is read. refuses: why the chat format refuses a normalized
    row, in a few words; empty where it does not. refusals: by source, as JSON, and reason.
    """

    raises: bool = False
    spec: Spec | None = None
    refuses: Callable[[Row], str] | None = None
    refusals: dict[tuple[str, str], _Refusal] = field(default_factory=dict)

    def template_refusal(self, row: Row) -> str:
        """Why the chat format refuses this row, as a reason for which rows are left out; empty where it does not."""
        refusal = self.refuses(row) if self.refuses else ""
        return f"{TEMPLATE_REFUSES} ({refusal})" if refusal else ""

    def is_allowed(self, source: Source, reason: str) -> bool:
        """Whether the person has said that rows with this reason are left out."""
        drop = self.spec.drop if self.spec else ()
        return "refused" in drop if reason.startswith(TEMPLATE_REFUSES) else source.skip_bad

    def add(self, source: Source, number: int, reason: str) -> None:
        """Notes a row that nobody allowed to leave out. number: of the row in its source, from 1. Raises Problem where
        refused rows are errors."""
        if self.raises:
            raise _refused_row_problem(number, reason, _whose(source, self.spec))
        key = (source.model_dump_json(), str(reason))  # several slices of one file, or splits, are sources of their own
        refusal = self.refusals.setdefault(key, _Refusal(source, reason))
        refusal.numbers[number] = None

    def require_none(self) -> None:
        """Raises Problem for the first refused row."""
        for refusal in self.refusals.values():
            whose = _whose(refusal.source, self.spec)
            raise _refused_row_problem(next(iter(refusal.numbers)), refusal.reason, whose)

    def findings(self) -> list[Finding]:
        """A finding for each source and reason, which is wrong until the rows are mended or the person leaves them out."""
        return [self._finding(refusal) for refusal in self.refusals.values()]

    def _finding(self, refusal: _Refusal) -> Finding:
        numbers, drop = [*refusal.numbers], self.spec.drop if self.spec else ()
        paths = _setting_paths(refusal.source, self.spec) if self.spec else []
        return refused_rows_finding(numbers, refusal.reason, paths, drop, _whose(refusal.source, self.spec))


def _is_held_out(source: Source, spec: Spec) -> bool:
    """Whether a source that is read is the held-out one, the held-out split of the first one, or an evaluation set."""
    return source not in spec.data


def _setting_paths(source: Source, spec: Spec) -> list[str]:
    """Where in the Spec the settings of a source stand that is read."""
    if not _is_held_out(source, spec):
        return [f"data.{index}" for index, own_source in enumerate(spec.data) if own_source == source]
    if isinstance(source, EvalSet):
        return [f"eval_sets.{spec.eval_sets.index(source)}"]
    return ["holdout.source"] if spec.holdout.source else ["data.0"]


def _whose(source: Source, spec: Spec | None) -> str:
    """Of which source a row is, in words that follow it; empty where it is the only one."""
    if spec is None:
        return ""
    if isinstance(source, EvalSet):
        return f" of the evaluation set “{source.name}”"
    if _is_held_out(source, spec):
        return f" of the held-out split “{source.split}”" if spec.holdout.split else " of the held-out examples"
    return f" of “{display_name(source)}”" if len(spec.data) > 1 else ""


def refused_rows_finding(
    numbers: Sequence[int], reason: str, paths: Sequence[str], drop: Sequence[str] = (), whose: str = ""
) -> Finding:
    """The finding on rows that are refused for one reason, with the remedy that leaves them out.

    numbers: of these rows, from 1. paths: of the settings of their source in the Spec; none for one that has no setting.
    drop: as in the Spec. whose: of which source they are, in words that follow them.
    """
    count, pronoun = len(numbers), "it" if len(numbers) == 1 else "them"
    subject = (
        f"Row {numbers[0]}{whose} cannot" if count == 1 else f"{count:,} rows{whose}, first row {numbers[0]}, cannot"
    )
    title = "Leave it out" if count == 1 else f"Leave these {count:,} out"
    remedy: Remedy | None = None
    if reason.startswith(TEMPLATE_REFUSES):
        remedy = {"title": title, "changes": {"drop": [*drop, "refused"]}}
    elif paths:
        remedy = {"title": title, "changes": {f"{path}.skip_bad": True for path in paths}}
    text = f"{subject} be used: {reason}. A run stops there: mend {pronoun}, or leave {pronoun} out."
    return make_finding("refused", "wrong", text, numbers, remedy)


def _refused_row_problem(number: int, reason: str, whose: str) -> Problem:
    """The error of a run for the first row that is refused."""
    if reason.startswith(TEMPLATE_REFUSES):
        advice = "Mend it, choose another chat format, or leave such rows out (drop: refused)."
    else:
        advice = "Mend it, or leave out rows that cannot be read (skip_bad)."
    return Problem(f"Row {number}{whose} cannot be used: {shorten(reason, 240)}.", advice=advice, reason="refused_row")
