"""Starting mirrors: whoever looks at runs makes sure that each one on another machine is being copied."""

from __future__ import annotations

import contextlib
import os
import signal
import time

from app.core import platform
from app.core.problems import Problem
from app.core.processes import start_detached
from app.core.workspace import Workspace
from app.runs.mirror_record import MIRROR_LOCK, is_running_elsewhere, read_mirror_record, write_mirror_record
from app.runs.store import RUN_ID_PATTERN, Run

_LOG_FILE = "mirror.log"
_POLL_SECONDS = 0.1


def register_run(run: Run) -> None:
    """Notes that a run is on another machine, so that a look at ten thousand runs need not ask each of them."""
    (run.workspace.folder("mirrors") / run.id).touch()


def ensure_mirror(run: Run) -> None:
    """Starts the run's mirror unless one lives or there is nothing more to copy. Returns at once."""
    if is_running_elsewhere(run.path) and not platform.is_locked(run.path / MIRROR_LOCK):
        with (run.path / _LOG_FILE).open("ab") as log:
            start_detached("app.remote.mirror", str(run.path), output=log)


def abandon_run(run: Run) -> None:
    """Gives up a run on another machine: nothing more is fetched, and what is here can be resumed. That machine is not
    asked, so it may still train. Raises Problem for a run that trains here or has ended."""
    record = read_mirror_record(run.path)
    if record is None or record["engine"] != "running":
        raise Problem(f"The run {run.id} does not run on another machine.", advice=f"See python -m app show {run.id}")
    with (run.path / MIRROR_LOCK).open("a+") as lock:
        while not platform.try_lock_file(lock):
            lock.seek(0)
            with contextlib.suppress(ValueError, ProcessLookupError):  # it may be starting, or ending
                os.kill(int(lock.read()), signal.SIGTERM)
            time.sleep(_POLL_SECONDS)
        write_mirror_record(run.path, {**record, "engine": "ended", "reason": "It was given up here."})


def ensure_mirrors(workspace: Workspace) -> None:
    """`ensure_mirror` of all runs on other machines; forgets those that have ended."""
    for mark in workspace.folder("mirrors").iterdir():
        run = Run(workspace.runs / mark.name)
        if RUN_ID_PATTERN.fullmatch(mark.name) and is_running_elsewhere(run.path):
            ensure_mirror(run)
        else:
            mark.unlink(missing_ok=True)
