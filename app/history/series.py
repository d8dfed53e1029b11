"""Curves: events in, one series per metric out."""

from __future__ import annotations

import math
from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

DRAWN = 2_000  # points of one series; more than a screen has columns
FILLED = 0.35  # of that many stretches are drawn as two points each: the rest is room to grow before thinning again


@dataclass(frozen=True)
class Series:
    """One metric over steps. A value of None is a number that was not finite: a gap. tested: measured now and then.

    means: where two points stand for a stretch of many, the mean of that stretch; smoothing goes by these.
    """

    name: str
    steps: list[int]
    values: list[float | None]
    tested: bool = False
    means: list[float | None] | None = None

    @property
    def latest(self) -> float | None:
        """The last number there is."""
        return next((value for value in reversed(self.values) if value is not None), None)


class Track:
    """One metric as it grows: 16 bytes a point, NaN for a gap."""

    def __init__(self, tested: bool):
        self.steps, self.values, self.tested = array("q"), array("d"), tested

    def extend(self, steps: list[int], values: list[float | None]) -> None:
        """Points in rising order."""
        self.cut(steps[0] - 1)  # a step that is told again counts once
        self.steps.fromlist(steps)
        self.values.fromlist([math.nan if value is None else value for value in values] if None in values else values)

    def cut(self, last: int) -> None:
        """Drops what lies past step `last`."""
        if self.steps and self.steps[-1] > last:
            kept = bisect_right(self.steps, last)
            del self.steps[kept:], self.values[kept:]

    def series(self, name: str) -> Series:
        return Series(name, list(self.steps), [None if v != v else v for v in self.values], self.tested)


class Curves:
    """Every metric as it grows, in order of first appearance. A resumed attempt cuts back to where it began."""

    def __init__(self, track: type[Track] = Track) -> None:
        self.track, self.tracks = track, dict[str, Track]()

    def add(self, event: dict[str, Any]) -> None:
        if event["kind"] == "resumed":
            for track in self.tracks.values():
                track.cut(event["from_step"])
        elif event["kind"] in ("step", "eval"):
            self.extend([event["step"]], {name: [value] for name, value in event["metrics"].items()}, event["kind"] == "eval")  # fmt: skip

    def extend(self, steps: list[int], columns: dict[str, list[float | None]], tested: bool = False) -> None:
        """Many points at once: steps in rising order, and each metric's values at them."""
        for name, values in columns.items():
            if name not in self.tracks:
                self.tracks[name] = self.track(tested)
            self.tracks[name].extend(steps, values)

    def series(self) -> Iterator[Series]:
        every = (track.series(name) for name, track in self.tracks.items())
        return (one for one in every if one.steps)


def series(story: Iterable[dict[str, Any]]) -> dict[str, Series]:
    """{metric: its series}, in order of first appearance; steps that a resumed attempt takes again count once."""
    curves = Curves()
    for event in story:
        curves.add(event)
    return {one.name: one for one in curves.series()}


def thinned(one: Series, most: int = DRAWN) -> Series:
    """At most `most` points with every spike kept: the lowest and the highest of each stretch, and both ends.

    Stretches are a power of two steps wide and begin at its multiples. So thinning what was thinned before, as the page
    does while a curve grows (components/curves.js), gives what thinning the whole gives.
    """
    if len(one.steps) <= most:
        return one
    kept, means = [], []
    for first, end in stretches(one.steps, width(one.steps[0], one.steps[-1], most)):
        found, mean = extremes(one.values, first, end)
        ends = {place for place in (0, len(one.steps) - 1) if first <= place < end}
        places = sorted({*found, *ends})
        kept += places
        means += [mean] * len(places)
    return Series(one.name, [one.steps[i] for i in kept], [one.values[i] for i in kept], one.tested, means)


def width(first: int, last: int, most: int) -> int:
    """The smallest power of two that cuts these steps into few enough stretches."""
    wide = 1
    while last // wide - first // wide + 1 > most * FILLED:
        wide *= 2
    return wide


def stretches(steps: list[int], wide: int) -> Iterator[tuple[int, int]]:
    """Places [first, end) of each stretch that holds a point."""
    first = 0
    while first < len(steps):
        end = bisect_left(steps, (steps[first] // wide + 1) * wide, first)
        yield first, end
        first = end


def extremes(values: list[float | None], first: int, end: int) -> tuple[list[int], float | None]:
    """Places of the lowest and the highest value, and their mean; a stretch without numbers keeps one gap."""
    part = values[first:end]
    known = [value for value in part if value is not None] if None in part else part
    if not known:
        return [first], None
    return [first + part.index(min(known)), first + part.index(max(known))], sum(known) / len(known)
