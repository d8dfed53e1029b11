"""Active run: which run computes on this machine now."""

from __future__ import annotations

from app.core.workspace import local_workspace
from app.runs import store
from app.runs.store import Run

_CHECKED_RUNS = 50  # the newest


def computing_run() -> Run | None:
    """A run whose process lives and no longer waits for its device; None where there is none."""
    runs = store.list_runs(local_workspace())[:_CHECKED_RUNS]
    return next((run for run in runs if store.is_alive(run) and store.run_state(run, True) != "waiting"), None)
