"""Outcome: a run in a few words and one small line, read from parts of its story, so that long runs cost no more."""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any, BinaryIO

from app.runs import events

POINTS = 24  # of a small line
WHOLE = 400_000  # bytes; a longer story is looked at in places
PLACES, LOOK = 48, 12_000  # how many, and bytes of each; the first and the last look are as long as four
Story = list[dict[str, Any]]


def glance(path: Path, places: int = PLACES, look: int = LOOK) -> Story:
    """The whole story as it counts; of a very long one its beginning, its end and `places` of `look` bytes between, in order."""
    if not path.exists():
        return []
    with path.open("rb") as file:
        size = file.seek(0, 2)
        looks = [(size * place // places, look) for place in range(1, places)] if size > WHOLE else []
        parts = [(0, 4 * LOOK), *looks, (size - 4 * LOOK, 4 * LOOK)] if looks else [(0, size)]
        ahead(file, looks)
        found = [events.parse_all(lines(file, start, length)) for start, length in parts]
    return events.current(events.once(itertools.chain(*found)))


def ahead(file: BinaryIO, parts: list[tuple[int, int]]) -> None:
    """Asks for all parts before any is read: a disk gives many places together sooner than one after another."""
    if hasattr(os, "posix_fadvise"):  # not on every system
        for start, length in parts:
            os.posix_fadvise(file.fileno(), start, length, os.POSIX_FADV_WILLNEED)


def lines(file: BinaryIO, start: int, length: int) -> bytes:
    """The whole lines there; a line cut in half is no event."""
    file.seek(start)
    data = file.read(length)
    return data[data.find(b"\n") + 1 if start else 0 : data.rfind(b"\n") + 1]


def spark(story: Story) -> list[float]:
    """At most 24 numbers from 0 to 1: the mean reward where there is one, else the loss, in even stretches."""
    steps = [event["metrics"] for event in story if event["kind"] == "step"]
    name = "reward/mean" if any("reward/mean" in metrics for metrics in steps) else "train/loss"
    values = [metrics[name] for metrics in steps if metrics.get(name) is not None]
    count = min(POINTS, len(values))
    means = [mean(values[len(values) * i // count : len(values) * (i + 1) // count]) for i in range(count)]
    low, high = min(means, default=0), max(means, default=0)
    return [round((value - low) / (high - low), 3) if high > low else 0.5 for value in means]


def mean(values: list[float]) -> float:
    return sum(values) / len(values)


def result(state: str, story: Story) -> str | None:
    """What came of it: “0 % → 94 %”, “stopped at 84 of 120”, “out of memory”; None while it goes on."""
    step = last(story, "step")
    if state in ("stopped", "lost"):
        return f"{state} at {step['step']:,} of {step['of']:,}" if step else f"{state} before the first step"
    if state == "failed":
        return last(story, "failed")["reason"].replace("_", " ")
    if state == "finished":
        return improvement(story) or (f"{step['step']:,} steps" if step else "finished")
    return None


def improvement(story: Story) -> str | None:
    """“0 % → 94 %”: the first and the last held-out test in what `compared` names."""
    found = compared(story)
    return f"{found[1]} → {found[2]}" if found else None


def compared(story: Story) -> tuple[str, str, str] | None:
    """(what, before, after) of the first and the last held-out test: the first reward there is, else the loss."""
    tests = [event["metrics"] for event in story if event["kind"] == "eval"]
    if len(tests) < 2:
        return None
    first, final = tests[0], tests[-1]
    known = [name for name in final if first.get(name) is not None and final[name] is not None]
    name = next((name for name in known if name != "eval/loss"), next(iter(known), None))
    return (name.removeprefix("eval/"), number(name, first[name]), number(name, final[name])) if name else None


def number(name: str, value: float) -> str:
    """Shares in percent, losses with two digits, other scores as short as they are."""
    if name == "eval/loss":
        return f"{value:.2f}"
    return f"{value * 100:.0f} %" if 0 <= value <= 1 else f"{value:.3g}"


def score(metrics: dict[str, float | None]) -> float | None:
    """One number of a test, higher is better: its first reward, else the loss turned round."""
    known = {name: value for name, value in metrics.items() if value is not None}
    reward = next((value for name, value in known.items() if name != "eval/loss"), None)
    return reward if reward is not None or "eval/loss" not in known else -known["eval/loss"]


def last(story: Iterable[dict[str, Any]], kind: str) -> dict[str, Any] | None:
    return next((event for event in reversed([*story]) if event["kind"] == kind), None)
