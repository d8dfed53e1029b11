"""Curves: events in, one series per metric out."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from app.events import current

DRAWN = 2_000  # points of one series; more than a screen has columns


@dataclass(frozen=True)
class Series:
    """One metric over steps. A value of None is a number that was not finite: a gap. tested: measured now and then."""

    name: str
    steps: list[int]
    values: list[float | None]
    tested: bool = False

    @property
    def latest(self) -> float | None:
        """The last number there is."""
        return next((value for value in reversed(self.values) if value is not None), None)


def series(story: Iterable[dict[str, Any]]) -> dict[str, Series]:
    """{metric: its series}, in order of first appearance; steps that a resumed attempt takes again count once."""
    points: dict[str, dict[int, float | None]] = {}
    tested = set()
    for event in current(story):
        if event["kind"] not in ("step", "eval"):
            continue
        for name, value in event["metrics"].items():
            points.setdefault(name, {})[event["step"]] = value
            if event["kind"] == "eval":
                tested.add(name)
    return {name: Series(name, [*at], [*at.values()], name in tested) for name, at in points.items()}


def thinned(one: Series, most: int = DRAWN) -> Series:
    """At most `most` points with every spike kept: the lowest and the highest of each stretch, and both ends."""
    count = len(one.steps)
    if count <= most:
        return one
    stretches = (most - 2) // 2
    kept = [0]
    for stretch in range(stretches):
        first, end = (1 + (count - 2) * edge // stretches for edge in (stretch, stretch + 1))
        kept += extremes(one.values, range(first, end))
    kept.append(count - 1)
    return Series(one.name, [one.steps[i] for i in kept], [one.values[i] for i in kept], one.tested)


def extremes(values: list[float | None], where: range) -> list[int]:
    """Places of the lowest and the highest value, in order; a stretch without numbers keeps one gap."""
    known = [i for i in where if values[i] is not None]
    if not known:
        return list(where[:1])
    return sorted({min(known, key=values.__getitem__), max(known, key=values.__getitem__)})
