"""Gathering: the rows of a Spec's sources as a method takes them, those to learn from and those held out, in memory or one by one."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Iterator
from itertools import islice
from typing import Any

from app.core import registry
from app.core.problems import Problem, shorten
from app.data import files, images, rows
from app.data.fields import MISSING, as_text, at
from app.data.rows import Row
from app.data.unreadable_rows import Unread
from app.engine.cooperative import breathe
from app.engine.datasets.row_filter import Sieve
from app.setup.spec import Source, Spec

MOST_ASIDE = 512  # rows held out of a stream, looked for among its first so many
SEARCHED = 20_000
MOST_VALUES = 8  # of a column, in a sentence


class Gathering:
    """normaliser: makes rows of one kind, and counts those left out. streaming: nothing is kept whole, and rows have no end.
    piecewise: a Hub dataset is not fetched whole, as only its first rows may be wanted.

    unread: {place in the Spec's data: what could not be read there}, of the last time that it was read.
    """

    def __init__(self, spec: Spec, normaliser: rows.Normaliser, streaming: bool = False, piecewise: bool = False):
        self.spec, self.normaliser, self.streaming = spec, normaliser, streaming
        self.piecewise = streaming or piecewise
        self.unread: dict[int, Unread] = {}
        self.sieve = Sieve(spec, normaliser.dropped, self.held_out, endless=streaming)

    def learned(self, place: int) -> Iterator[Row]:
        """What is learned from one source, once through."""
        source, unread = self.spec.data[place], Unread()
        self.unread[place] = unread
        raw = files.rows_of(source, unread=unread, streaming=self.piecewise)
        made = self.made(source, (row for row in raw if not self.is_named(row)))
        yield from self.sieve(row for row in made if not self.is_drawn(row))

    def held_out(self) -> list[Row]:
        """Rows kept aside in another way than by a share of rows in memory. Raises Problem when a value is nowhere."""
        aside = self.spec.holdout
        if aside.split is not None:
            whole = self.spec.data[0].model_copy(
                update={"start": None, "limit": None}
            )  # the slice is of what is learned
            return list(self.all_of(whole, aside.split))
        if aside.source is not None:
            return list(self.all_of(aside.source))
        if aside.column is not None:
            return self.with_value()
        return self.drawn() if aside.share and self.streaming else []

    def all_of(self, source: Source, split: str | None = None) -> Iterator[Row]:
        raw = files.rows_of(source, split, Unread(), self.piecewise)
        made = self.made(source, raw, split)
        return islice(made, MOST_ASIDE) if self.streaming else made

    def made(self, source: Source, raw: Iterator[Row], split: str | None = None) -> Iterator[Row]:
        path = files.file_of(source, split)
        folder = files.folder_of(path) if path else None
        for number, row in enumerate(self.normaliser(raw, source), 1):
            breathe("Reading", number)
            shown = images.shown(row, folder)
            if isinstance(shown, str):
                self.normaliser.dropped[shown] += 1
            else:
                yield shown

    # -- rows whose column has a value ------------------------------------------------------------------------------

    def is_named(self, row: Row) -> bool:
        aside = self.spec.holdout
        return aside.column is not None and value_of(row, aside.column) == aside.value

    def with_value(self) -> list[Row]:
        found, seen = [], dict[str | None, None]()
        for source in self.spec.data:
            raw = files.rows_of(source, unread=Unread(), streaming=self.streaming)
            raw = islice(raw, SEARCHED) if self.streaming else raw
            found += self.made(source, self.noted(raw, seen))
        if not found:
            raise nowhere(self.spec, seen)
        return found

    def noted(self, raw: Iterator[Row], seen: dict[str | None, None]) -> Iterator[Row]:
        for row in raw:
            if len(seen) <= MOST_VALUES:
                seen[value_of(row, self.spec.holdout.column or "")] = None
            if self.is_named(row):
                yield row

    # -- a share of a stream ----------------------------------------------------------------------------------------

    def is_drawn(self, row: Row) -> bool:
        """By its content, so that equal rows lie on one side, however often the stream begins again."""
        share = self.spec.holdout.share if self.streaming else None
        if not share:
            return False
        digest = hashlib.blake2b(repr(row).encode(errors="replace"), digest_size=8, key=str(self.spec.seed).encode())
        return int.from_bytes(digest.digest(), "big") < share * 2**64

    def drawn(self) -> list[Row]:
        each = SEARCHED // len(self.spec.data)
        every = (row for source in self.spec.data for row in islice(self.all_rows(source), each))
        return list(islice((row for row in every if self.is_drawn(row)), MOST_ASIDE))

    def all_rows(self, source: Source) -> Iterator[Row]:
        return self.made(source, files.rows_of(source, unread=Unread(), streaming=True))

    # -- without an end ---------------------------------------------------------------------------------------------

    def endless(self) -> Iterator[Row]:
        """Rows of all sources, drawn by their sizes and weights; each source begins again when it runs out."""
        dice, places = random.Random(self.spec.seed), range(len(self.spec.data))
        weights = shares(self.spec.data)
        sources = [self.again(place) for place in places]
        while True:
            yield next(sources[dice.choices(places, weights)[0]])

    def again(self, place: int) -> Iterator[Row]:
        while True:
            count = 0
            for row in self.learned(place):
                count += 1
                yield row
            if not count:
                name = files.name_of(self.spec.data[place])
                raise Problem(f"No usable rows in the stream of “{name}”.", advice="Check the examples.", reason="no_rows")  # fmt: skip

    def findings(self) -> list[dict[str, Any]]:
        """Of rows that could not be read."""
        return [one for place, unread in self.unread.items() for one in unread.findings(place, self.spec.data[place].skip_bad)]  # fmt: skip


def shares(sources: list[Source]) -> list[float]:
    """How often to draw from each, so that a row is seen as often as its source weighs. Rows are counted where that is quick; or
    else bytes stand for them; or, on the Hub, all sources are taken for equally large."""
    paths = [files.file_of(one) for one in sources]
    counts = [files.count_of(one) for one in sources]
    if None in counts:
        counts = [path.stat().st_size if path else 0 for path in paths]
    sizes = counts if all(counts) else [1] * len(sources)
    return [size * one.weight for size, one in zip(sizes, sources, strict=True)]


def value_of(row: Row, column: str) -> str | None:
    """What a column says, as it stands in the file."""
    value = at(row, column)
    return None if value is MISSING or value is None else as_text(value)


def nowhere(spec: Spec, seen: dict[str | None, None]) -> Problem:
    aside, values = spec.holdout, [shorten(one, 40) for one in seen if one is not None]
    if not values:
        first = next(files.rows_of(spec.data[0], unread=Unread()), {})
        return Problem(f"No row has a column “{shorten(aside.column or '', 80)}” to hold out by.",
                       advice=registry.nearest(aside.column or "", list(first)[:50]), reason="wrong_column")  # fmt: skip
    return Problem(f"No row to learn from says “{shorten(aside.value or '', 80)}” in the column “{aside.column}”, so none would be held out.",
                   advice=f"It says {', '.join(f'“{one}”' for one in values[:MOST_VALUES])}.", reason="wrong_column")  # fmt: skip
