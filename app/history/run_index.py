"""Index: what a list shows of each run, remembered while the run's files are the same, also over a start of the page."""

from __future__ import annotations

import os
import time
from typing import Any

from app.core import cache

PLACE = ("lists", "runs.json")
WORTH = 100  # runs; reading as many again is quick
TICK = 100_000_000  # nanoseconds; a change within the tick of another gives a file no other time

Stamp = list[int]
Summary = dict[str, Any]


class Index:
    """{a run's name: [its stamp, its summary, whether the stamp was old enough to show every later change]}."""

    def __init__(self) -> None:
        self.known: dict[str, Any] = cache.get(*PLACE) or {}
        self.fresh: set[str] = set()  # what is not kept yet
        self.gone = False  # something kept must go

    def get(self, name: str, mark: Stamp) -> Summary | None:
        """The summary, if it was made of the same files."""
        mine, shown, settled = self.known.get(name, ([], {}, False))
        return shown if mine == mark and (settled or not is_settled(mark, time.time_ns())) else None

    def put(self, name: str, mark: Stamp, shown: Summary, at: int) -> Summary:
        """at: when the stamp was taken, in nanoseconds since 1970."""
        self.known[name] = [mark, shown, is_settled(mark, at)]
        self.fresh.add(name)
        return shown

    def forget(self, name: str) -> None:
        """Nothing of a deleted run stays, from the next list on."""
        self.known.pop(name, None)
        self.gone = True

    def keep(self, names: list[str]) -> None:
        """Keeps what is known of these names, once enough is new."""
        if len(self.fresh) < WORTH and not self.gone:
            return
        self.fresh, self.gone, there = set(), False, {*names}
        self.known = {name: one for name, one in self.known.copy().items() if name in there}
        sayable = {name: one for name, one in self.known.copy().items() if one[2] and name.isprintable()}
        cache.put(*PLACE, sayable)  # a folder's name may be no text


def is_settled(mark: Stamp, at: int) -> bool:
    return max(mark) < at - TICK


def stamp(path: str) -> Stamp | None:
    """Changes with what a summary tells: the story grows, checkpoints come and go, the setup may be edited, all else is replaced.

    None for what is no run.
    """
    try:
        found = [os.stat(path).st_mtime_ns, os.stat(f"{path}/spec.json").st_mtime_ns]
    except (FileNotFoundError, NotADirectoryError):
        return None
    for name in ("events.jsonl", "checkpoints"):
        try:
            part = os.stat(f"{path}/{name}")
        except FileNotFoundError:
            found.append(0)
        else:
            found += (part.st_mtime_ns, part.st_size)
    return found
