"""Drop: rows that a person said not to learn from, left out where the data is loaded or, once it is tokens, where it is prepared."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any

import orjson

from app.data.rows import Row, as_question, text_in
from app.engine.lockless_property import once

if TYPE_CHECKING:
    from app.engine.job import Job
    from app.setup.spec import Spec

LEAST_LEAK = 20  # letters: shorter answers, such as “yes”, may well stand in a question
WHY = {
    "duplicates": "the same stands there already",
    "held_out": "it is also kept aside to test on",
    "leaks": "its answer stands in the question",
    "same": "its two answers say the same",
    "untrained": "nothing of it would be learned",
    "cut": "it is longer than the maximum length",
}


class Sieve:
    """Lets rows through that are learned from, and counts the others by reason. All is as it was where nothing is dropped.

    held_out: gives the rows kept aside. endless: rows come again and again, and none of them is a repeated one.
    """

    def __init__(self, spec: Spec, dropped: Counter[str], held_out: Callable[[], Iterable[Row]], endless: bool = False):
        self.drop, self.dropped, self.held_out = (
            {*spec.drop} - ({"duplicates"} if endless else set()),
            dropped,
            held_out,
        )
        self.seen: set[bytes] = set()

    def __call__(self, rows: Iterable[Row]) -> Iterator[Row]:
        if not self.drop:
            yield from rows
            return
        for row in rows:
            reason = self.reason(row)
            if reason:
                self.dropped[WHY[reason]] += 1
            else:
                yield row

    def reason(self, row: Row) -> str:
        if "leaks" in self.drop and leaks(row):
            return "leaks"
        if "same" in self.drop and says_the_same(row):
            return "same"
        if not self.drop & {"duplicates", "held_out"}:
            return ""
        mark = mark_of(row)
        if "held_out" in self.drop and mark in self.aside:
            return "held_out"
        if "duplicates" in self.drop and mark in self.seen:
            return "duplicates"
        self.seen.add(mark)
        return ""

    @once
    def aside(self) -> set[bytes]:
        """Marks of the rows kept aside in another way than by a share, which parts rows so that none stands on both sides."""
        before = self.dropped.copy()
        found = {mark_of(row) for row in self.held_out()}
        self.dropped.clear()
        self.dropped.update(before)  # they are counted where they are read to be kept
        return found


def mark_of(row: Row) -> bytes:
    """By which a row is known again: its words in its columns, in whatever order these stand."""
    plain = orjson.dumps(row, default=repr, option=orjson.OPT_SORT_KEYS | orjson.OPT_NON_STR_KEYS)
    return hashlib.blake2b(plain, digest_size=16).digest()


def leaks(row: Row) -> bool:
    """Does the answer stand in the question, whatever capitals and white space it has there?"""
    found = as_question(row)
    if found is None:
        return False
    answer = bare(found[1])
    return len(answer) >= LEAST_LEAK and answer in bare(said(found[0]))


def says_the_same(row: Row) -> bool:
    """Two answers that differ at most in white space and capitals: there is nothing to prefer."""
    return "chosen" in row and "rejected" in row and bare(said(row["chosen"])) == bare(said(row["rejected"]))


def said(value: Any) -> str:
    """The words of a text or of turns."""
    return "\n".join(text_in(turn.get("content")) for turn in value) if isinstance(value, list) else str(value)


def bare(text: str) -> str:
    return " ".join(text.casefold().split())


def prepared(job: Job, table: Any, limit: int | None) -> Any:
    """The prepared rows without those that are dropped for their tokens. limit: where the trainer cuts, if it has not yet."""
    from app.engine.datasets.token_columns import sizes

    asked = [one for one in ("cut", "untrained") if one in job.spec.drop]
    counted = sizes(table, limit) if asked and len(table) else None
    if counted is None:
        return table
    long, learned = counted
    cut = (long > limit) if limit and "cut" in asked else long < 0
    nothing = (learned == 0) & ~cut if "untrained" in asked else long < 0
    for reason, which in (("cut", cut), ("untrained", nothing)):
        if which.any():
            job.data.dropped[WHY[reason]] += int(which.sum())
    out = cut | nothing
    return table.select((~out).nonzero()[0]) if out.any() else table


def left(job: Job) -> int:
    """Rows that are learned from, also without those that were dropped for their tokens."""
    return len(job.data.train) - sum(job.data.dropped[WHY[reason]] for reason in ("cut", "untrained"))


def cut_at(job: Job) -> int | None:
    """The length at which an example loses its end; None where it is split or chopped without loss."""
    packs = getattr(job.knobs, "packing", False)
    whole = packs and getattr(job.knobs, "packing_strategy", "wrapped") == "bfd"
    return getattr(job.knobs, "max_length", None) if whole or not packs else None
