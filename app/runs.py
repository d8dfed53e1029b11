"""Runs: a folder each. The folder is the truth; everything said about a run is read from it."""

from __future__ import annotations

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

from app import events, rooms
from app.problems import Problem
from app.spec import Launch, Spec, read
from app.validation import parse


@dataclass(frozen=True)
class Run:
    """One run's folder, with names for what lies in it."""

    path: Path

    @property
    def id(self) -> str:
        return self.path.name

    @property
    def spec(self) -> Spec:
        return read(json.loads((self.path / "spec.json").read_text(encoding="utf-8")))

    @property
    def launch(self) -> Launch:
        return parse(Launch, load_json(self.path / "launch.json"), "The launch")

    @property
    def handle(self) -> dict[str, Any]:
        """Where it runs: backend, pid, process start and boot id, or a remote id; empty before the first start."""
        return load_json(self.path / "handle.json")

    @property
    def events(self) -> Path:
        return self.path / "events.jsonl"

    @property
    def control(self) -> Path:
        return self.path / "control.jsonl"

    @property
    def adapter(self) -> Path:
        return self.path / "adapter"

    @property
    def checkpoints(self) -> Path:
        return self.path / "checkpoints"


def create(spec: Spec, launch: Launch) -> Run:
    """A new folder with spec.json and launch.json; it appears whole or not at all."""
    folder = rooms.home("runs") / new_id(spec.title or spec.method)
    draft = folder.with_name(f".{folder.name}")
    draft.mkdir()
    write_json(draft / "launch.json", launch.model_dump(exclude_none=True))
    (draft / "spec.json").write_text(spec.to_json(), encoding="utf-8")
    draft.rename(folder)  # readers list names without a dot: no half-made run is ever seen
    return Run(folder)


def new_id(title: str) -> str:
    """Sorts by time and reads well: 20261122-153012-first-tune-k3f9."""
    slug = re.sub(r"[^a-z0-9]+", "-", title.lower()).strip("-")[:40] or "run"
    tail = "".join(random.SystemRandom().choices(string.ascii_lowercase + string.digits, k=4))
    return f"{time.strftime('%Y%m%d-%H%M%S')}-{slug}-{tail}"


def find(name: str) -> Run:
    """The run with this id, an unambiguous beginning or end of it, or `last`. Raises Problem."""
    runs = every()
    if name == "last" and runs:
        return runs[0]
    fits = [run for run in runs if run.id == name] or [
        run for run in runs if len(name) >= 4 and (run.id.startswith(name) or run.id.endswith(name))
    ]
    if len(fits) == 1:
        return fits[0]
    if fits:
        raise Problem(f"“{name}” fits {len(fits)} runs.", advice=f"Say which: {', '.join(run.id for run in fits[:5])}.")
    raise Problem(f"There is no run called “{name}”.", advice="`python -m app runs` lists them.")


def every() -> list[Run]:
    """All runs, newest first."""
    folder = rooms.home("runs")
    names = [
        name for name in os.listdir(folder) if not name.startswith(".") and (folder / name / "spec.json").is_file()
    ]
    return [Run(folder / name) for name in sorted(names, reverse=True)]


def delete(run: Run) -> None:
    """Removes the folder; it vanishes from lists at once, also when removing takes long."""
    gone = run.path.with_name(f".deleted-{run.id}")
    run.path.rename(gone)
    shutil.rmtree(gone)


def state(run: Run, alive: bool) -> str:
    """waiting, preparing … training, finished, stopped, failed, lost or new, from the last event and the handle."""
    event = events.last(run.events)
    if alive:
        return running_state(run)
    if event is None:
        return "lost" if run.handle else "new"
    if event["kind"] == "failed":
        return "failed"
    if event["kind"] == "done":
        return "finished" if event["why"] in ("finished", "early") else "stopped"
    return "lost"  # a dead process without a last word


def running_state(run: Run) -> str:
    """The latest state an attempt announced; `waiting` while it stands in the queue."""
    for event in reversed(tail(run)):
        if event["kind"] == "state":
            return event["state"]
        if event["kind"] == "step":
            return "training"
        if event["kind"] == "progress" and event["what"] == "waiting":
            return "waiting"
    return "preparing"


def tail(run: Run, size: int = 64_000) -> list[dict[str, Any]]:
    """The last events, about `size` bytes of them."""
    if not run.events.exists():
        return []
    with run.events.open("rb") as file:
        end = file.seek(0, 2)
        file.seek(max(0, end - size))
        return [event for event in map(events.parse, file) if event]


def load_json(path: Path) -> dict[str, Any]:
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}


def write_json(path: Path, data: dict[str, Any]) -> None:
    """Replaces the file in one move, so that no reader meets half of it."""
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    draft.write_text(json.dumps(data, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    draft.replace(path)
