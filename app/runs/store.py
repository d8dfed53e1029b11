"""Run store: each run is a folder, and everything known about a run is read from its files."""

from __future__ import annotations

import contextlib
import json
import os
import random
import re
import shutil
import string
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from app.core import cache, paths, registry
from app.core.problems import Problem
from app.core.validation import validate
from app.runs import events
from app.setup.spec import Launch, Spec, parse_spec

RUN_ID_PATTERN = re.compile(
    r"\d{8}-\d{6}-[a-z0-9-]{1,60}"
)  # as `new_run_id` makes them; such a name never leaves the runs folder
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
    def spec(self) -> Spec:
        """Read from spec.json at each call. Raises Problem when it is not valid."""
        return parse_spec(json.loads((self.path / "spec.json").read_text(encoding="utf-8")))

    @property
    def launch(self) -> Launch:
        """Read from launch.json at each call. Raises Problem when it is not valid."""
        return validate(Launch, read_json(self.path / "launch.json"), "The launch")

    @property
    def handle(self) -> dict[str, Any]:
        """Where it runs: backend, pid, start time of the process and boot id, or a remote id.

        Empty before the first start.
        """
        return read_json(self.path / "handle.json")

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


def create_run(spec: Spec, launch: Launch) -> Run:
    """Makes the folder of a new run, with spec.json and launch.json. It appears complete or not at all."""
    folder = paths.home("runs") / new_run_id(spec.title or spec.method)
    hidden_folder = folder.with_name(f".{folder.name}")
    hidden_folder.mkdir()
    write_json(hidden_folder / "launch.json", launch.model_dump(exclude_none=True))
    (hidden_folder / "spec.json").write_text(spec.to_json(), encoding="utf-8")
    hidden_folder.rename(folder)  # readers ignore names that start with a dot, so nobody sees an incomplete run
    return Run(folder)


def new_run_id(title: str) -> str:
    """A readable id that sorts by time: 20261122-153012-first-tune-k3f9."""
    slug = re.sub(r"[^a-z0-9]+", "-", title.lower()).strip("-")[:40] or "run"
    random_suffix = "".join(random.SystemRandom().choices(string.ascii_lowercase + string.digits, k=4))
    return f"{time.strftime('%Y%m%d-%H%M%S')}-{slug}-{random_suffix}"


def find_run(name: str) -> Run:
    """The run with this id, with an id that starts or ends so, or the newest for `last`.

    Raises Problem unless it is exactly one.
    """
    runs = list_runs()
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


def get_run(run_id: str) -> Run:
    """The run with exactly this id.

    Raises the same Problem for a malformed and a missing id, so guessing tells nothing.
    """
    run = Run(paths.home("runs") / run_id) if RUN_ID_PATTERN.fullmatch(run_id) else None
    if run is None or not (run.path / "spec.json").is_file():
        raise run_not_found()
    return run


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


def sample_rows(run: Run, event: dict[str, Any]) -> list[dict[str, Any]]:
    """The rows of a sample event; long ones are in a file of their own."""
    return event["rows"] if "rows" in event else json.loads((run.path / event["file"]).read_text(encoding="utf-8"))


def list_runs() -> list[Run]:
    """All runs, newest first."""
    folder = paths.home("runs")
    names = [
        name for name in os.listdir(folder) if not name.startswith(".") and (folder / name / "spec.json").is_file()
    ]
    return [Run(folder / name) for name in sorted(names, reverse=True)]


def is_alive(run: Run) -> bool:
    """Whether a process works on it now. The backend that runs it decides."""
    handle = run.handle
    return bool(handle) and registry.load_module("backends", handle["backend"]).alive(handle)


def run_title(run: Run) -> str:
    """The title in its spec, or else the one in its id."""
    return run.spec.title.strip() or title_from_id(run.id)


def title_from_id(run_id: str) -> str:
    """“First tune” for 20261122-153012-first-tune-k3f9."""
    return " ".join(run_id.split("-")[2:-1]).capitalize() or run_id


def delete_run(run: Run) -> int:
    """Deletes the run and returns the number of freed bytes. Raises Problem while a process works on it.

    The run leaves all lists at once, also when deleting its files takes long.
    """
    require_not_running(run, "deleted")
    freed_bytes = run_size(run)
    hidden_folder = hide_folder(run.path)
    cache.delete(HISTORY_CACHE, run.id)
    shutil.rmtree(hidden_folder)
    return freed_bytes


def hide_folder(folder: Path) -> Path:
    """Renames a folder so that no list shows it any more. Returns the new path, to be deleted."""
    return folder.rename(folder.with_name(f".deleted-{folder.name}"))


def require_not_running(run: Run, participle: str) -> None:
    """Raises Problem while a process works on the run. participle: what would be done to it, such as “deleted”."""
    if is_alive(run):
        raise Problem(f"“{run_title(run)}” is running, so it cannot be {participle}.", advice="Stop it first.")


def run_size(run: Run) -> int:
    """Bytes of all files in the run's folder."""
    return folder_size(run.path)


def folder_size(folder: Path | str) -> int:
    """Bytes of all files below a folder. Files that vanish meanwhile count nothing."""
    total = 0
    with contextlib.suppress(FileNotFoundError), os.scandir(folder) as entries:
        for entry in entries:
            with contextlib.suppress(FileNotFoundError):
                is_folder = entry.is_dir(follow_symlinks=False)
                total += folder_size(entry.path) if is_folder else entry.stat(follow_symlinks=False).st_size
    return total


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
        return "lost" if run.handle else "new"
    if event["kind"] == "failed":
        return "failed"
    if event["kind"] == "done":
        return "finished" if event["why"] in ("finished", "early") else "stopped"
    return "lost"


def _active_state(run: Run) -> str:
    """The latest state that a living engine has written; `waiting` while it is in the device queue."""
    for event in reversed(recent_events(run)):
        if event["kind"] == "state":
            return event["state"]
        if event["kind"] == "step":
            return "training"
        if event["kind"] == "progress" and event["what"] == "waiting":
            return "waiting"
    return "preparing"


def recent_events(run: Run, size: int = 64_000) -> list[dict[str, Any]]:
    """The events in the last `size` bytes of the file."""
    if not run.events.exists():
        return []
    with run.events.open("rb") as file:
        end = file.seek(0, 2)
        file.seek(max(0, end - size))
        return [event for event in map(events.parse_line, file) if event]


def read_json(path: Path) -> dict[str, Any]:
    """The content of a JSON file; empty when there is no such file."""
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}


def write_json(path: Path, data: dict[str, Any]) -> None:
    """Replaces the file atomically: no reader sees a partial file."""
    temporary_path = path.with_name(f".{path.name}.{os.getpid()}")
    temporary_path.write_text(json.dumps(data, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    temporary_path.replace(path)
