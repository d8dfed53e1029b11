"""Index of run summaries: each is cached while the files of its run are unchanged, also across restarts of the page."""

from __future__ import annotations

import os
import stat
import time
from typing import NamedTuple, TypedDict

from app.core import cache
from app.core.workspace import Workspace

_CACHE_KEY = ("lists", "runs-2.json")  # the number grows with the fields of a summary
SAVE_EVERY = 100  # changed runs; reading so many again is quick
CLOCK_TICK = 100_000_000  # nanoseconds; two changes within one tick may leave a file with the same modification time

Stamp = list[int]


class RunSummary(TypedDict):
    """What lists show of a run. of: steps in total. seconds_left: None when it does not run. spark: the sparkline, at
    most 24 numbers from 0 to 1. doubt: the severity of its worst diagnosis, None for a healthy run. started: Unix seconds. bytes: of all its files. journey: ID/STAGE of its pipeline
    run."""

    id: str
    title: str
    state: str
    alive: bool
    step: int
    of: int
    seconds_left: float | None
    spark: list[float]
    result: str | None
    doubt: str | None
    started: float
    bytes: int
    journey: str | None


class IndexEntry(NamedTuple):
    """A summary and the stamp of the files that it was made from. is_settled: the stamp was old enough, when it was
    read, for every later change to give another stamp."""

    stamp: Stamp
    summary: RunSummary
    is_settled: bool


class RunIndex:
    """Summaries of the runs in one folder, by name. Any thread may use it."""

    def __init__(self, workspace: Workspace) -> None:
        self.workspace = workspace
        saved_entries = cache.get(workspace, *_CACHE_KEY) or {}
        self.entries = {name: IndexEntry(*fields) for name, fields in saved_entries.items()}
        self._unsaved_names: set[str] = set()

    def get(self, name: str, stamp: Stamp) -> RunSummary | None:
        """The cached summary, if it was made from files with this stamp."""
        entry = self.entries.get(name)
        if entry is None or entry.stamp != stamp:
            return None
        return entry.summary if entry.is_settled or not _is_settled(stamp, time.time_ns()) else None

    def put(self, name: str, stamp: Stamp, summary: RunSummary, stamped_at: int) -> RunSummary:
        """Caches and returns the summary. stamped_at: when the stamp was read, in Unix nanoseconds."""
        self.entries[name] = IndexEntry(stamp, summary, _is_settled(stamp, stamped_at))
        self._unsaved_names.add(name)
        return summary

    def save(self, names: list[str]) -> None:
        """Saves the entries of these names, the runs that exist now, when many have changed or one is gone.

        A deleted run is forgotten at once, so that nothing of it stays on the disk.
        """
        existing_names = {*names}
        if len(self._unsaved_names) < SAVE_EVERY and self.entries.keys() <= existing_names:
            return
        self._unsaved_names = set()
        self.entries = {name: entry for name, entry in self.entries.copy().items() if name in existing_names}
        storable_entries = {
            name: [*entry]
            for name, entry in self.entries.copy().items()
            if entry.is_settled and name.isprintable()  # the name of a folder may not be valid text
        }
        cache.put(self.workspace, *_CACHE_KEY, storable_entries)


def _is_settled(stamp: Stamp, time_ns: int) -> bool:
    """Whether a change after `time_ns` is sure to give another stamp."""
    return max(stamp) < time_ns - CLOCK_TICK


def file_stamp(path: str) -> Stamp | None:
    """Modification times and sizes of the files that a summary is made from; None when there is no run at this path.

    events.jsonl grows, checkpoints come and go, and spec.json may be edited. All other files are replaced, which
    changes the modification time of the folder.
    """
    try:
        stamp = [os.stat(path).st_mtime_ns, os.stat(f"{path}/spec.json").st_mtime_ns]
    except (FileNotFoundError, NotADirectoryError):
        return None
    for name in ("events.jsonl", "checkpoints"):
        try:
            file_stat = os.stat(f"{path}/{name}")
        except FileNotFoundError:
            stamp.append(0)
        else:
            if not (stat.S_ISREG(file_stat.st_mode) or stat.S_ISDIR(file_stat.st_mode)):
                return None  # a pipe or a device, as `store.list_runs`
            stamp += (file_stat.st_mtime_ns, file_stat.st_size)
    return stamp
