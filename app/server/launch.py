"""Launch: from a setup to a run that trains, whoever asks for it."""

from __future__ import annotations

from app.core import registry
from app.planning import preflight
from app.runs import store
from app.setup.spec import Launch, Spec


def begin(spec: Spec) -> str:
    """Starts a run and returns its id. Raises the first Problem found, before anything is written."""
    spec, launch = preflight.check(spec), Launch()
    run = store.create(spec, launch)
    registry.load("backends", launch.machine.partition(":")[0]).start(run, launch)
    return run.id
