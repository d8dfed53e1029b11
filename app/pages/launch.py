"""Launch: from a setup to a run that trains, whoever asks for it."""

from __future__ import annotations

from app import hub, preflight, rooms, runs
from app.spec import Launch, Spec


def begin(spec: Spec, launch: Launch | None = None, token: str | None = None) -> str:
    """Starts a run and returns its id. Raises the first Problem found, before anything is written."""
    spec, launch = preflight.check(spec), launch or Launch()
    if launch.publish:  # an hour of training later is too late to learn that one may not publish there
        hub.require_write(launch.publish.repo, token)
    run = runs.create(spec, launch)
    rooms.load("backends", launch.machine.partition(":")[0]).start(run, launch)
    return run.id
