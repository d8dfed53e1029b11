"""Busy: which run computes on this machine now."""

from __future__ import annotations

from app import runs
from app.processes import is_alive
from app.runs import Run

RECENT = 50  # runs that are looked at, the newest


def computing() -> Run | None:
    """A run whose process lives and is past the queue."""
    return next((run for run in runs.every()[:RECENT] if is_alive(run.handle) and runs.state(run, True) != "waiting"), None)  # fmt: skip
