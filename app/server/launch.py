"""Start of a training run from a spec."""

from __future__ import annotations

from app.core import registry
from app.planning import preflight
from app.runs import store
from app.setup.spec import Launch, Spec


def start_run(spec: Spec) -> str:
    """Starts a run and returns its id. Raises the first Problem of the preflight, before anything is written."""
    spec, launch = preflight.check_spec(spec), Launch()
    run = store.create_run(spec, launch)
    registry.load_module("backends", launch.machine.partition(":")[0]).start(run, launch)
    return run.id
