"""Folded: a curve of any length in little space: its newest points one by one, what lies before in stretches."""

from __future__ import annotations

import math
from array import array
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

from app.history.series import DRAWN, Series, Track, extremes, stretches, thinned, width

NEWEST = 5_000  # points kept one by one at least; folded when there are twice as many


class Deep(Exception):
    """A curve was to be cut back to step `last`, behind what is kept one by one: only the story itself can tell it then."""

    def __init__(self, last: int):
        super().__init__(last)
        self.last = last


class Stretch(NamedTuple):
    """The lowest and the highest of `count` numbers, where they stand, and their mean. A stretch of gaps has None for each number."""

    low_at: int
    low: float | None
    high_at: int
    high: float | None
    mean: float | None
    count: int


class Folded(Track):
    """A Track whose series is what `thinned` makes of the whole curve, spikes, both ends and means included."""

    def __init__(self, tested: bool):
        super().__init__(tested)
        self.old: list[Stretch] = []
        self.first: tuple[int, float] | None = None  # the first and the last point that are folded
        self.edge: tuple[int, float] | None = None

    def extend(self, steps: list[int], values: list[float | None]) -> None:
        super().extend(steps, values)
        if len(self.steps) > 2 * NEWEST:
            self.fold()

    def fold(self) -> None:
        """Leaves the newest points. No stretch is wider than the curve needs up to here: it may be cut back to here."""
        end = len(self.steps) - NEWEST
        self.first = self.first or (self.steps[0], self.values[0])
        self.edge = self.steps[end - 1], self.values[end - 1]
        wide = width(self.first[0], self.edge[0], DRAWN)
        self.old = gathered([*self.old, *cut(self.steps[:end], self.values[:end], wide)], wide)
        del self.steps[:end], self.values[:end]

    def cut(self, last: int) -> None:
        if self.edge and last < self.edge[0]:
            raise Deep(last)
        super().cut(last)

    def series(self, name: str) -> Series:
        if not self.old:
            return thinned(super().series(name))
        last = (self.steps[-1], self.values[-1]) if self.steps else self.edge
        wide = width(self.first[0], last[0], DRAWN)
        steps, values, means = [], [], []
        for part in gathered([*self.old, *cut(self.steps, self.values, wide)], wide):
            ends = {step: number(value) for step, value in (self.first, last) if step // wide == part.low_at // wide}
            points = ends | {part.low_at: part.low, part.high_at: part.high}
            steps += sorted(points)
            values += [points[step] for step in sorted(points)]
            means += [part.mean] * len(points)
        return Series(name, steps, values, self.tested, means)

    def kept(self) -> dict[str, Any]:
        """All of it as plain data, NaN for a gap."""
        return {"tested": self.tested, "steps": self.steps.tolist(), "values": self.values.tolist(),
                "old": [[*one] for one in self.old], "first": self.first, "edge": self.edge}  # fmt: skip

    @classmethod
    def of(cls, kept: dict[str, Any]) -> Folded:
        """From what `kept` gave, where JSON may have made null of NaN."""
        track = cls(kept["tested"])
        track.steps, track.values = array("q", kept["steps"]), array("d", map(gap, kept["values"]))
        track.old = [Stretch(*one) for one in kept["old"]]
        track.first, track.edge = ((one[0], gap(one[1])) if one else None for one in (kept["first"], kept["edge"]))
        return track


def cut(steps: array, values: array, wide: int) -> Iterator[Stretch]:
    """The stretches of these points, each `wide` steps wide."""
    numbers = [*map(number, values)] if math.isnan(sum(values)) else values.tolist()
    for first, end in stretches(steps, wide):
        found, mean = extremes(numbers, first, end)
        count = end - first - numbers[first:end].count(None)
        yield Stretch(steps[found[0]], numbers[found[0]], steps[found[-1]], numbers[found[-1]], mean, count)


def gathered(parts: Iterable[Stretch], wide: int) -> list[Stretch]:
    """Stretches that follow one another, those within the same `wide` steps as one."""
    found: list[Stretch] = []
    for part in parts:
        if found and found[-1].low_at // wide == part.low_at // wide:
            found[-1] = joined(found[-1], part)
        else:
            found.append(part)
    return found


def joined(first: Stretch, second: Stretch) -> Stretch:
    """Both as one; of equal numbers the earlier stands."""
    if not first.count or not second.count:
        return first if first.count or not second.count else second
    low, high = first if first.low <= second.low else second, first if first.high >= second.high else second
    count = first.count + second.count
    mean = (first.mean * first.count + second.mean * second.count) / count
    return Stretch(low.low_at, low.low, high.high_at, high.high, mean, count)


def number(value: float) -> float | None:
    return None if math.isnan(value) else value


def gap(value: float | None) -> float:
    return math.nan if value is None else value
