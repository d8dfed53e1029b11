"""Launch: from a setup to a run that trains, whoever asks for it."""

from __future__ import annotations

from app import preflight, rooms, runs
from app.spec import Launch, Spec


def begin(spec: Spec) -> str:
    """Starts a run and returns its id. Raises the first Problem found, before anything is written."""
    spec, launch = preflight.check(spec), Launch()
    run = runs.create(spec, launch)
    rooms.load("backends", launch.machine.partition(":")[0]).start(run, launch)
    return run.id
