"""Launcher: starts, stops and controls runs through the backend of the machine that their launch names."""

from __future__ import annotations

from app.contracts import Backend, Handle
from app.core import registry
from app.core.workspace import Workspace
from app.planning import preflight
from app.runs import store
from app.runs.store import Run
from app.setup.spec import Launch, Spec


def launch_run(workspace: Workspace, spec: Spec, launch: Launch | None = None) -> Run:
    """Checks a setup and starts a run of it. Raises the first Problem of the preflight, before anything is written."""
    spec, launch = preflight.check_spec(spec), launch or Launch()
    run = store.create_run(workspace, spec, launch)
    start_run(run, launch)
    return run


def start_run(run: Run, launch: Launch) -> Handle:
    """Starts a run, or resumes one that has checkpoints. Raises Problem when the backend refuses.

    The launch, in launch.json, records which backend started it; the engine does not know.
    """
    backend = backend_of(launch)
    store.write_launch(run, launch)
    return backend.start(run, launch)


def stop_run(run: Run) -> str:
    """Saves and stops. Returns how far the backend had to go: not running, asked, terminated or killed."""
    return backend_of(run.launch).stop(run.handle)


def send_command(run: Run, command: str) -> str:
    """Sends a command, such as `save`, and returns its id, which the engine answers with a note."""
    return backend_of(run.launch).control(run.handle, command)


def backend_of(launch: Launch) -> Backend:
    """The backend of the launch's machine. Raises Problem when there is none of that name."""
    backend: Backend = registry.load_module("backends", launch.machine.partition(":")[0])
    return backend
