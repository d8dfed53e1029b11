"""Index of run summaries: each is cached while the files of its run are unchanged, also across restarts of the page."""

from __future__ import annotations

import os
import time
from typing import Any

from app.core import cache

_CACHE_KEY = ("lists", "runs.json")
SAVE_EVERY = 100  # changed runs; reading so many again is quick
CLOCK_TICK = 100_000_000  # nanoseconds; two changes within one tick may leave a file with the same modification time

Stamp = list[int]
Summary = dict[str, Any]


class RunIndex:
    """Summaries of the runs in one folder, by name. Any thread may use it.

    An entry is [stamp, summary, is_settled]: is_settled says that the stamp was old enough, when it was read, for every
    later change to give another stamp.
    """

    def __init__(self) -> None:
        self.entries: dict[str, Any] = cache.get(*_CACHE_KEY) or {}
        self._unsaved_names: set[str] = set()

    def get(self, name: str, stamp: Stamp) -> Summary | None:
        """The cached summary, if it was made from files with this stamp."""
        cached_stamp, summary, was_settled = self.entries.get(name, ([], {}, False))
        is_current = cached_stamp == stamp and (was_settled or not _is_settled(stamp, time.time_ns()))
        return summary if is_current else None

    def put(self, name: str, stamp: Stamp, summary: Summary, stamped_at: int) -> Summary:
        """Caches and returns the summary. stamped_at: when the stamp was read, in Unix nanoseconds."""
        self.entries[name] = [stamp, summary, _is_settled(stamp, stamped_at)]
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
            name: entry
            for name, entry in self.entries.copy().items()
            if entry[2] and name.isprintable()  # the name of a folder may not be valid text
        }
        cache.put(*_CACHE_KEY, storable_entries)


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
            stamp += (file_stat.st_mtime_ns, file_stat.st_size)
    return stamp
