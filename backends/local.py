"""This machine: each run is a process of its own that outlives the page, in a queue that needs no server."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any

from app.core import paths
from app.core.problems import Problem
from app.core.processes import is_alive
from app.runs import events, standby
from app.runs.store import Run, write_json
from app.setup.spec import Launch

TITLE = "This machine"
CAN = ("control", "fetch", "resume")
_GRACE_SECONDS = {"asked": 30.0, "terminated": 30.0, "killed": 10.0}  # seconds each way of stopping is given
_POLL_INTERVAL = 0.1


def machines() -> list[dict[str, Any]]:
    """The devices a run can take, best first: name, title."""
    gpu_fields = [line.partition(", ") for line in _query_nvidia_smi("--query-gpu=index,name", "--format=csv,noheader")]
    return [{"name": f"local:cuda:{index}", "title": name} for index, _, name in gpu_fields] + [
        {"name": "local:cpu", "title": f"Processor, {os.cpu_count()} cores"}
    ]


def _query_nvidia_smi(*query: str) -> list[str]:
    if not shutil.which("nvidia-smi"):
        return []
    completed_process = subprocess.run(["nvidia-smi", *query], capture_output=True, text=True, timeout=10, check=False)
    return completed_process.stdout.splitlines() if completed_process.returncode == 0 else []


def start(run: Run, launch: Launch) -> dict[str, Any]:
    """Starts the engine detached and returns its handle. Starting a run that has checkpoints resumes it.

    The engine itself writes handle.json, once it knows that it is the only one in the folder; so a launcher that is
    killed here loses nothing. Raises Problem when the engine refuses, as when the run is running already.
    """
    write_json(run.path / "launch.json", launch.model_dump(exclude_none=True))
    control_size = run.control.stat().st_size if run.control.exists() else 0
    standby_identity = standby.claim_standby(run.path, control_size)
    if standby_identity and _wait_until_started(run, standby_identity["pid"], lambda: is_alive(standby_identity)):
        return run.handle
    with (run.path / "log.txt").open("ab") as log:
        process = start_detached("app.engine", str(run.path), "--control-from", str(control_size), output=log)
    if _wait_until_started(run, process.pid, lambda: process.poll() is None):
        return run.handle
    raise Problem(
        f"The run {run.id} did not start.", advice=f"It may be running already; {run.path / 'log.txt'} says why."
    )


def ensure_standby() -> None:
    """Sees to it that a spare waits for the next start, which then takes a second instead of ten. Returns at once.

    The spare ends with this process unless it is claimed. None is started while a run computes: ask again after its end.
    """
    if standby.should_start_standby():
        with (standby.standby_folder() / "log.txt").open("wb") as log:
            start_detached("app.engine.standby", str(os.getpid()), output=log)


def start_detached(module: str, *arguments: str, output: IO[bytes]) -> subprocess.Popen[bytes]:
    """A process of a session of its own: neither Ctrl-C here nor the end of this one reaches it."""
    process = subprocess.Popen([sys.executable, "-m", module, *arguments], cwd=paths.ROOT, stdin=subprocess.DEVNULL,
                               stdout=output, stderr=output, start_new_session=True)  # fmt: skip
    threading.Thread(target=process.wait, daemon=True).start()  # once ended it leaves no zombie
    return process


def _wait_until_started(run: Run, pid: int, is_running: Callable[[], bool]) -> bool:
    """Waits until the engine `pid` has named itself in the run's handle.json; False when it ended without."""
    while run.handle.get("pid") != pid:
        if not is_running():
            return run.handle.get("pid") == pid  # it may have begun and ended between two looks
        time.sleep(_POLL_INTERVAL / 5)
    return True


def alive(handle: dict[str, Any]) -> bool:
    return is_alive(handle)


def follow(handle: dict[str, Any], after_seq: int = 0) -> Iterator[str]:
    """Lines of events after `after_seq` as they come, until the engine has ended. Waits without limit while it lives."""
    path, offset = Path(handle["folder"]) / "events.jsonl", 0
    while True:
        living = alive(handle)  # before reading: what it wrote just before its end is still read
        lines, offset = _read_new_lines(path, offset)
        for line in lines:
            event = events.parse_line(line)
            if event and event["seq"] > after_seq:
                after_seq = event["seq"]
                yield line.decode()
        if not living:
            return
        time.sleep(_POLL_INTERVAL)


def _read_new_lines(path: Path, offset: int) -> tuple[list[bytes], int]:
    """Whole lines behind `offset`, and where they end; a line still being written waits for its newline."""
    if not path.exists():
        return [], offset
    with path.open("rb") as file:
        file.seek(offset)
        data = file.read()
    complete_lines = data[: data.rfind(b"\n") + 1]
    return complete_lines.splitlines(keepends=True), offset + len(complete_lines)


def control(handle: dict[str, Any], command: str) -> str:
    """Appends a wish to control.jsonl; the engine answers its id with a note. Returns the id."""
    command_id = f"{command}-{time.time_ns()}"
    with (Path(handle["folder"]) / "control.jsonl").open("ab") as file:
        file.write(json.dumps({"id": command_id, "command": command}).encode() + b"\n")
    return command_id


def stop(handle: dict[str, Any], grace: dict[str, float] | None = None) -> str:
    """Asks to stop and save, then insists, then kills. Returns how far it went: not running, asked, terminated, killed.

    grace: seconds each way is given, by its name.
    """
    if not alive(handle):
        return "not running"
    grace = _GRACE_SECONDS | (grace or {})
    control(handle, "stop")
    if _wait_until_ended(handle, grace["asked"]):
        return "asked"
    with contextlib.suppress(ProcessLookupError):  # it may end between two looks
        os.kill(handle["pid"], signal.SIGTERM)
    if _wait_until_ended(handle, grace["terminated"]):
        return "terminated"
    with contextlib.suppress(ProcessLookupError):
        os.killpg(handle["pid"], signal.SIGKILL)  # it leads its own session: its children go with it
    _wait_until_ended(handle, grace["killed"])
    return "killed"


def _wait_until_ended(handle: dict[str, Any], seconds: float) -> bool:
    deadline = time.monotonic() + seconds
    while alive(handle):
        if time.monotonic() > deadline:
            return False
        time.sleep(_POLL_INTERVAL)
    return True


def fetch(handle: dict[str, Any], paths: list[str], to: Path) -> list[Path]:
    """The run's files are here already: copies of them under `to`."""
    to.mkdir(parents=True, exist_ok=True)
    copied = []
    for path in paths:
        source, target = Path(handle["folder"]) / path, to / path
        target.parent.mkdir(parents=True, exist_ok=True)
        copied.append(
            Path(
                shutil.copytree(source, target, dirs_exist_ok=True) if source.is_dir() else shutil.copy2(source, target)
            )
        )
    return copied
