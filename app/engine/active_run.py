"""Busy: which run computes on this machine now."""

from __future__ import annotations

from app.core.processes import is_alive
from app.runs import store
from app.runs.store import Run

RECENT = 50  # runs that are looked at, the newest


def computing() -> Run | None:
    """A run whose process lives and is past the queue."""
    return next((run for run in store.every()[:RECENT] if is_alive(run.handle) and store.state(run, True) != "waiting"), None)  # fmt: skip
