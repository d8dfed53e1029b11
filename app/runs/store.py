"""Run store: each run is a folder, and everything known about a run is read from its files."""

from __future__ import annotations

import contextlib
import os
import random
import re
import string
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from app.core import platform, processes
from app.core.json_files import load_json, read_json, write_json
from app.core.json_types import JsonObject
from app.core.problems import Problem
from app.core.validation import validate
from app.core.workspace import Workspace
from app.runs import events
from app.runs.events import COMPLETED, DoneEvent, Event, FailedEvent, ProgressEvent, SampleEvent, StateEvent, StepEvent
from app.runs.mirror_record import is_running_elsewhere
from app.runs.records import read_handle, read_record, write_record
from app.setup.spec import Launch, Spec

RUN_ID_PATTERN = re.compile(
    r"\d{8}-\d{6}-[a-z0-9-]{1,60}"
)  # as `new_run_id` makes them; such a name never leaves the runs folder
_POLL_INTERVAL = 0.1  # seconds
_SPEC_ADVICE = "Delete the run, or put back a copy of the file."
HISTORY_CACHE = "stories"  # cache namespace of run histories (app/history/reader.py), deleted together with the run


@dataclass(frozen=True)
class Run:
    """One run's folder, with the paths of its files."""

    path: Path

    @property
    def id(self) -> str:
        """The name of the folder, such as 20261122-153012-first-tune-k3f9."""
        return self.path.name

    @property
    def workspace(self) -> Workspace:
        """Where it belongs: its folder lies in the workspace's folder of runs."""
        return Workspace(self.path.parent.parent)

    @property
    def spec(self) -> Spec:
        """Read from spec.json at each call. Raises Problem when it is not valid."""
        return validate(Spec, read_json(self.path / "spec.json", advice=_SPEC_ADVICE), "The setup in spec.json")

    @property
    def launch(self) -> Launch:
        """Read from launch.json at each call. Raises Problem when it is not valid."""
        return validate(Launch, read_record(self.path / "launch.json"), "The launch in launch.json")

    @property
    def handle(self) -> dict[str, Any]:
        """Where it runs: backend, folder and the identity of the process (app/core/processes.py), or a remote id.

        Empty before the first start, and where the file is damaged.
        """
        return read_handle(self.path / "handle.json")

    @property
    def facts(self) -> dict[str, Any]:
        """What the engine found out, see RunManifest in app/engine/run_manifest.py; empty before it did.

        Raises DamagedFile.
        """
        return read_record(self.path / "facts.json")

    @property
    def engine_lock(self) -> Path:
        """The file that the run's engine holds locked for as long as it lives."""
        return self.path / ".engine.lock"

    @property
    def events(self) -> Path:
        """JSON lines that the engine appends, see app/runs/events.py."""
        return self.path / "events.jsonl"

    @property
    def control(self) -> Path:
        """JSON lines with commands to the engine, such as stop."""
        return self.path / "control.jsonl"

    @property
    def adapter(self) -> Path:
        """Folder of the result: an adapter, or a complete model."""
        return self.path / "adapter"

    @property
    def checkpoints(self) -> Path:
        """Folder of the checkpoints, see app/runs/checkpoints.py."""
        return self.path / "checkpoints"


def create_run(workspace: Workspace, spec: Spec, launch: Launch) -> Run:
    """Makes the folder of a new run, with spec.json and launch.json. It appears complete or not at all."""
    folder = workspace.runs / new_run_id(spec.title or spec.method)
    hidden_folder = folder.with_name(f".{folder.name}")
    hidden_folder.mkdir()
    write_launch(Run(hidden_folder), launch)
    write_json(hidden_folder / "spec.json", spec.to_dict())
    hidden_folder.rename(folder)  # readers ignore names that start with a dot, so nobody sees an incomplete run
    return Run(folder)


def write_launch(run: Run, launch: Launch) -> None:
    """Stores how the run is started, and on which machine."""
    write_record(run.path / "launch.json", launch.model_dump(exclude_none=True))


def write_handle(run: Run, identity: processes.ProcessIdentity) -> None:
    """Stores which process works on the run, and the backend that its launch names."""
    try:
        machine = run.launch.machine
    except Problem:  # boundary: a damaged file; the run then fails with a sentence about it
        machine = Launch().machine
    handle = {"backend": machine.partition(":")[0], "folder": str(run.path), **identity}
    write_record(run.path / "handle.json", handle)


def new_run_id(title: str) -> str:
    """A readable id that sorts by time: 20261122-153012-first-tune-k3f9."""
    slug = re.sub(r"[^a-z0-9]+", "-", title.lower()).strip("-")[:40] or "run"
    random_suffix = "".join(random.SystemRandom().choices(string.ascii_lowercase + string.digits, k=4))
    return f"{time.strftime('%Y%m%d-%H%M%S')}-{slug}-{random_suffix}"


def find_run(workspace: Workspace, name: str) -> Run:
    """The run with this id, with an id that starts or ends so, or the newest for `last`.

    Raises Problem unless it is exactly one.
    """
    runs = list_runs(workspace)
    if name == "last" and runs:
        return runs[0]
    matching_runs = [run for run in runs if run.id == name] or [
        run for run in runs if len(name) >= 4 and (run.id.startswith(name) or run.id.endswith(name))
    ]
    if len(matching_runs) == 1:
        return matching_runs[0]
    if matching_runs:
        raise Problem(
            f"“{name}” fits {len(matching_runs)} runs.",
            advice=f"Say which: {', '.join(run.id for run in matching_runs[:5])}.",
        )
    raise Problem(f"There is no run called “{name}”.", advice="`python -m app runs` lists them.")


def get_run(workspace: Workspace, run_id: str) -> Run:
    """The run with exactly this id.

    Raises the same Problem for a malformed and a missing id, so guessing tells nothing.
    """
    run = Run(workspace.runs / run_id) if RUN_ID_PATTERN.fullmatch(run_id) else None
    if run is None or not _is_run_folder(run.path):
        raise run_not_found()
    return run


def _is_run_folder(folder: Path) -> bool:
    """Whether it holds a run. In the place of its events a stranger's may have a link to a pipe or a device, which has no
    end."""
    events_file = folder / "events.jsonl"
    return (folder / "spec.json").is_file() and (events_file.is_file() or not events_file.exists())


def run_not_found() -> Problem:
    """The Problem of an id that names no run."""
    return Problem("There is no such run here.", advice="It may have been deleted. Choose one from the list.")


def result_folder(run: Run) -> Path:
    """The folder of the trained adapter or model. Raises Problem when there is none yet."""
    if not run.adapter.is_dir():
        raise Problem(
            f"The run {run.id} has no result yet.", advice="Wait for it to finish, or stop it: stopping saves."
        )
    return run.adapter


def sample_rows(run: Run, event: SampleEvent) -> list[JsonObject]:
    """The rows of a sample event; long ones are in a file of their own. Raises DamagedFile."""
    if event.file is None:
        return event.rows or []
    path = run.path / "samples" / Path(event.file).name  # also of a stranger's run, whose events may name any file
    rows: list[JsonObject] = load_json(path, list[dict[str, Any]], "The other answers can still be read.")
    return rows


def list_runs(workspace: Workspace) -> list[Run]:
    """All runs, newest first."""
    folder = workspace.runs
    names = [name for name in os.listdir(folder) if not name.startswith(".") and _is_run_folder(folder / name)]
    return [Run(folder / name) for name in sorted(names, reverse=True)]


def is_alive(run: Run) -> bool:
    """Whether a process works on it now: an engine holds its lock, that of its handle lives, or it runs elsewhere. Cheap."""
    return platform.is_locked(run.engine_lock) or processes.is_alive(run.handle) or is_running_elsewhere(run.path)


def last_heard(run: Run) -> float | None:
    """Unix time of its last event; None before the first. Cheap: the modification time of the file."""
    with contextlib.suppress(FileNotFoundError):
        return run.events.stat().st_mtime
    return None


def follow_events(run: Run, after_seq: int = 0) -> Iterator[str]:
    """Event lines with a seq above `after_seq` as they are written, until the engine has ended."""
    offset = 0
    while True:
        is_running = is_alive(run)  # asked before reading, so that lines written just before the end are read
        lines, offset = _read_new_lines(run.events, offset)
        for line in lines:
            event = events.parse_line(line)
            if event and event.seq > after_seq:
                after_seq = event.seq
                yield line.decode()
        if not is_running:
            return
        time.sleep(_POLL_INTERVAL)


def _read_new_lines(path: Path, offset: int) -> tuple[list[bytes], int]:
    """Complete lines from `offset` on, and the offset where they end.

    A line without a newline is still being written.
    """
    if not path.exists():
        return [], offset
    with path.open("rb") as file:
        file.seek(offset)
        content = file.read()
    complete_lines = content[: content.rfind(b"\n") + 1]
    return complete_lines.splitlines(keepends=True), offset + len(complete_lines)


def run_title(run: Run) -> str:
    """The title in its spec, or else the one in its id."""
    return run.spec.title.strip() or title_from_id(run.id)


def title_from_id(run_id: str) -> str:
    """“First tune” for 20261122-153012-first-tune-k3f9."""
    return " ".join(run_id.split("-")[2:-1]).capitalize() or run_id


def creation_time(run: Run) -> float:
    """Unix time in its id; where the folder has another name, the modification time of spec.json."""
    try:
        return time.mktime(time.strptime(run.id[:15], "%Y%m%d-%H%M%S"))
    except (ValueError, OverflowError):  # boundary: a person may rename a folder
        return (run.path / "spec.json").stat().st_mtime


def run_state(run: Run, alive: bool) -> str:
    """The state, from the last events and the handle: new, waiting, preparing, loading, training, evaluating, saving,
    stopping, finished, stopped, failed, or lost (the process is gone without a final event)."""
    event = events.last_event(run.events)
    if alive:
        return _active_state(run)
    if event is None:
        return "lost" if (run.path / "handle.json").exists() else "new"
    if isinstance(event, FailedEvent):
        return "failed"
    if isinstance(event, DoneEvent):
        return "finished" if event.why in COMPLETED else "stopped"
    return "lost"


def _active_state(run: Run) -> str:
    """The latest state that a living engine has written; `waiting` while it is in the device queue."""
    for event in reversed(recent_events(run)):
        if isinstance(event, StateEvent):
            return event.state
        if isinstance(event, StepEvent):
            return "training"
        if isinstance(event, ProgressEvent) and event.what == "waiting":
            return "waiting"
    return "preparing"


def recent_events(run: Run, size: int = 64_000) -> list[Event]:
    """The events in the last `size` bytes of the file."""
    if not run.events.exists():
        return []
    with run.events.open("rb") as file:
        end = file.seek(0, 2)
        file.seek(max(0, end - size))
        return [event for event in map(events.parse_line, file) if event]
