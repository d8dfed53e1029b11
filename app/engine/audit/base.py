"""Inspecting: what the checks of the audit share: a row's words, the findings' one shape, and how a check looks and tells."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

from app.data.rows import Row, as_question, text_in
from app.engine.datasets.row_filter import mark_of

if TYPE_CHECKING:
    from app.engine.datasets.token_columns import Texts
    from app.engine.job import Job

MOST_NAMED = 20  # rows of a finding
Finding = dict[str, Any]
SPOKEN = ("messages", "prompt", "chosen", "rejected", "completion", "reference", "privileged_context", "text")


@dataclass
class Read:
    """A row as the method takes it. number: its place among the rows that are learned from, or among those held out, from 1."""

    number: int
    row: Row

    @cached_property
    def spoken(self) -> list[tuple[str, str]]:
        """(who says it, the words), in order; of plain text the column stands for who."""
        return [one for name in SPOKEN if name in self.row for one in words_of(name, self.row[name])] + [
            ("assistant", str(step)) for step in self.row.get("completions") or () if isinstance(step, str)
        ]

    @cached_property
    def text(self) -> str:
        return "\n".join(words for _, words in self.spoken)

    @cached_property
    def mark(self) -> bytes:
        return mark_of(self.row)

    @cached_property
    def question(self) -> tuple[Any, str] | None:
        return as_question(self.row)


def words_of(name: str, value: Any) -> Iterator[tuple[str, str]]:
    if isinstance(value, str):
        yield name, value
    for turn in value if isinstance(value, list) else ():
        if isinstance(turn, dict):
            yield str(turn.get("role", name)), text_in(turn.get("content") or "")


@dataclass
class Named:
    """Rows that have something, counted, and the first of them by their numbers."""

    count: int = 0
    rows: list[int] = field(default_factory=list)

    def add(self, number: int) -> None:
        self.count += 1
        if len(self.rows) < MOST_NAMED:
            self.rows.append(number)

    def add_all(self, numbers: Any) -> None:
        """Of a numpy array."""
        self.count += len(numbers)
        self.rows += [int(one) for one in numbers[: MOST_NAMED - len(self.rows)]]


class Look:
    """One check. A file of app/engine/audit/ has its own, called `Check`, with those of these that it needs.

    row: sees every row that is learned from; aside: every row held out; tokens: every piece of the prepared table.
    """

    def __init__(self, job: Job, table: Any):
        self.job, self.rows = job, len(job.data.train)
        self.numbers = None if "row" not in table.column_names else table.data.column("row").to_numpy()

    def row(self, read: Read) -> None:
        """Each row as the method takes it."""

    def aside(self, read: Read) -> None:
        """Each row held out."""

    def tokens(self, texts: list[Texts], data: Any) -> None:
        """A piece of the prepared table, as texts and as Arrow has it."""

    def findings(self) -> list[Finding]:
        return []

    def named(self, first: int, which: Any) -> Any:
        """Numbers of the rows marked in `which`, of the piece that begins at `first`, whatever was left out before."""
        places = which.nonzero()[0] + first
        return (places if self.numbers is None else self.numbers[places]) + 1


def finding(name: str, severity: str, text: str, found: Named | None = None, remedy: dict[str, Any] | None = None) -> Finding:  # fmt: skip
    found = found or Named()
    return {"id": name, "severity": severity, "text": text, "count": found.count, "rows": found.rows, "remedy": remedy}


def remedy(title: str, **changes: Any) -> dict[str, Any]:
    """changes: {path in the Spec, dots written as two underscores: its value}."""
    return {"title": title, "changes": {path.replace("__", "."): value for path, value in changes.items()}}


def without(job: Job, reason: str, title: str) -> dict[str, Any]:
    """The remedy that leaves such rows out."""
    return remedy(title, drop=[*job.spec.drop, reason])


def examples(count: int, does: str, do: str) -> str:
    """`1 example loses …` or `3 examples lose …`."""
    return f"{count:,} example{f' {does}' if count == 1 else f's {do}'}"
