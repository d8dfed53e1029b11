"""This machine: each run is a process of its own that outlives the page, in a queue that needs no server."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from app.contracts import Handle, Machine
from app.core import platform
from app.core.problems import Problem
from app.core.processes import is_alive, start_detached
from app.core.workspace import Workspace
from app.runs import standby, store
from app.runs.store import Run
from app.setup.spec import Launch

TITLE = "This machine"
_GRACE_SECONDS = {"asked": 30.0, "terminated": 30.0, "killed": 10.0}  # how long each way of stopping may take
_POLL_INTERVAL = 0.1  # seconds


def machines() -> list[Machine]:
    """The devices that a run can use, best first."""
    gpu_lines = _query_nvidia_smi("--query-gpu=index,name", "--format=csv,noheader")
    gpu_fields = [line.partition(", ") for line in gpu_lines]
    gpus: list[Machine] = [{"name": f"local:cuda:{index}", "title": name} for index, _, name in gpu_fields]
    return [*gpus, {"name": "local:cpu", "title": f"Processor, {os.cpu_count()} cores"}]


def _query_nvidia_smi(*query: str) -> list[str]:
    """Lines that nvidia-smi prints; none where it is missing or fails."""
    if not shutil.which("nvidia-smi"):
        return []
    completed_process = subprocess.run(["nvidia-smi", *query], capture_output=True, text=True, timeout=10, check=False)
    return completed_process.stdout.splitlines() if completed_process.returncode == 0 else []


def start(run: Run, launch: Launch) -> Handle:
    """Starts the engine as a detached process and returns its handle. Starting a run that has checkpoints resumes it.

    The engine itself writes handle.json, once it knows that it is the only engine of the run. So nothing is lost when
    this process is killed here. Raises Problem when the engine refuses, as when the run is running already.
    """
    control_size = run.control.stat().st_size if run.control.exists() else 0
    standby_identity = standby.claim_standby(run.workspace, run.path, control_size)
    if standby_identity and _wait_until_started(run, standby_identity["pid"], lambda: is_alive(standby_identity)):
        return run.handle
    with (run.path / "log.txt").open("ab") as log:
        process = start_detached("app.engine", str(run.path), "--control-from", str(control_size), output=log)
    if _wait_until_started(run, process.pid, lambda: process.poll() is None):
        return run.handle
    raise Problem(
        f"The run {run.id} did not start.", advice=f"It may be running already; {run.path / 'log.txt'} says why."
    )


def ensure_standby(workspace: Workspace) -> None:
    """Starts a standby engine unless one waits, so that the next start takes one second instead of ten.

    Returns at once.

    It ends with this process unless a run has claimed it. None is started while a run computes, so call this regularly.
    """
    if standby.should_start_standby(workspace):
        with (standby.standby_folder(workspace) / "log.txt").open("wb") as log:
            start_detached("app.engine.standby", str(os.getpid()), output=log)


def _wait_until_started(run: Run, pid: int, is_running: Callable[[], bool]) -> bool:
    """Waits until the engine with this pid has written the run's handle.json; False when it ended before."""
    while run.handle.get("pid") != pid:
        if not is_running():
            return run.handle.get("pid") == pid  # it may have started and ended since the last check
        time.sleep(_POLL_INTERVAL / 5)
    return True


def alive(handle: Handle) -> bool:
    """Whether the engine with this handle is running: its process lives, or an engine holds the lock of the run."""
    return is_alive(handle) or ("folder" in handle and platform.is_locked(Run(Path(handle["folder"])).engine_lock))


def follow(handle: Handle, after_seq: int = 0) -> Iterator[str]:
    """Event lines with a seq above `after_seq` as they are written, until the engine has ended."""
    return store.follow_events(Run(Path(handle["folder"])), after_seq)


def control(handle: Handle, command: str) -> str:
    """Appends a command to control.jsonl and returns its id; the engine answers with a note that has this id."""
    command_id = f"{command}-{time.time_ns()}"
    with (Path(handle["folder"]) / "control.jsonl").open("ab") as file:
        file.write(json.dumps({"id": command_id, "command": command}).encode() + b"\n")
    return command_id


def stop(handle: Handle, grace: dict[str, float] | None = None) -> str:
    """Asks the engine to save and stop, then sends SIGTERM, then SIGKILL.

    Returns what ended it: not running, asked, terminated or killed. grace: seconds to wait after each, by these names.
    Raises Problem where it does not answer, and its handle does not say which process it is.
    """
    if not alive(handle):
        return "not running"
    grace = _GRACE_SECONDS | (grace or {})
    control(handle, "stop")
    if _wait_until_ended(handle, grace["asked"]):
        return "asked"
    if alive(handle) and not is_alive(handle):  # a signal might reach another process that has its pid
        raise Problem(
            f"The run {Path(handle['folder']).name} has not stopped yet, and which process trains it is not known.",
            advice="It stops after its step. If it hangs, end its process by hand.",
        )
    with contextlib.suppress(ProcessLookupError):  # it may end at this moment
        os.kill(handle["pid"], signal.SIGTERM)
    if _wait_until_ended(handle, grace["terminated"]):
        return "terminated"
    with contextlib.suppress(ProcessLookupError):
        os.killpg(handle["pid"], signal.SIGKILL)  # it leads its own session, so its children are killed too
    _wait_until_ended(handle, grace["killed"])
    return "killed"


def _wait_until_ended(handle: Handle, seconds: float) -> bool:
    """False when the engine still runs after this time."""
    deadline = time.monotonic() + seconds
    while alive(handle):
        if time.monotonic() > deadline:
            return False
        time.sleep(_POLL_INTERVAL)
    return True


def fetch(handle: Handle, paths: list[str], to: Path) -> list[Path]:
    """Copies files and folders of the run to `to`; on this machine they need no download. Returns the copies."""
    to.mkdir(parents=True, exist_ok=True)
    copied = []
    for path in paths:
        source, target = Path(handle["folder"]) / path, to / path
        target.parent.mkdir(parents=True, exist_ok=True)
        if source.is_dir():
            shutil.copytree(source, target, dirs_exist_ok=True)
        else:
            shutil.copy2(source, target)
        copied.append(target)
    return copied
