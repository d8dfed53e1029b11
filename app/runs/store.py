"""Runs: a folder each. The folder is the truth; everything said about a run is read from it."""

from __future__ import annotations

import contextlib
import functools
import itertools
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

from app.core import cache, registry
from app.core.problems import Problem
from app.core.validation import parse
from app.history import summary as summary_reader
from app.history.run_index import Index, stamp
from app.runs import events
from app.setup.spec import Launch, Spec, read

ID = re.compile(r"\d{8}-\d{6}-[a-z0-9-]{1,60}")  # as `new_id` makes them: no path leads out of the home
STORIES = "stories"  # where on the shelf long ones are kept in little


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
    folder = registry.home("runs") / new_id(spec.title or spec.method)
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


def exact(name: str) -> Run:
    """The run with this very id. Raises the same Problem for a malformed, a guessed and a missing one."""
    run = Run(registry.home("runs") / name) if ID.fullmatch(name) else None
    if run is None or not (run.path / "spec.json").is_file():
        raise missing()
    return run


def missing() -> Problem:
    return Problem("There is no such run here.", advice="It may have been deleted. Choose one from the list.")


def result(run: Run) -> Path:
    """The folder of what it learned. Raises Problem when there is none yet."""
    if not run.adapter.is_dir():
        raise Problem(f"The run {run.id} has no result yet.", advice="Wait for it to finish, or stop it: stopping saves.")  # fmt: skip
    return run.adapter


def answers(run: Run, event: dict[str, Any]) -> list[dict[str, Any]]:
    """The rows of a sample; long ones lie in a file of their own."""
    return event["rows"] if "rows" in event else json.loads((run.path / event["file"]).read_text(encoding="utf-8"))


def every() -> list[Run]:
    """All runs, newest first."""
    folder = registry.home("runs")
    names = [
        name for name in os.listdir(folder) if not name.startswith(".") and (folder / name / "spec.json").is_file()
    ]
    return [Run(folder / name) for name in sorted(names, reverse=True)]


def alive(run: Run) -> bool:
    """Does a process work on it now? Asked where it runs."""
    handle = run.handle
    return bool(handle) and registry.load("backends", handle["backend"]).alive(handle)


def title(run: Run) -> str:
    """Its own title, or what its folder's name says."""
    return run.spec.title.strip() or words(run.id)


def words(name: str) -> str:
    """20261122-153012-first-tune-k3f9 reads “First tune”."""
    return " ".join(name.split("-")[2:-1]).capitalize() or name


def delete(run: Run) -> int:
    """Removes the folder and returns the bytes that frees; it vanishes from lists at once, also when removing takes long.

    Raises Problem while a process works on it.
    """
    refuse_alive(run, "deleted")
    freed = size(run)
    gone = set_aside(run.path)
    index(str(run.path.parent)).forget(run.id)
    cache.drop(STORIES, run.id)
    shutil.rmtree(gone)
    return freed


def set_aside(folder: Path) -> Path:
    """Under another name it is in no list any more, however long removing it takes."""
    return folder.rename(folder.with_name(f".deleted-{folder.name}"))


def refuse_alive(run: Run, deed: str) -> None:
    if alive(run):
        raise Problem(f"“{title(run)}” is running, so it cannot be {deed}.", advice="Stop it first.")


def size(run: Run) -> int:
    """Bytes of its folder."""
    return size_of(run.path)


def size_of(folder: Path | str) -> int:
    """Bytes of all files below; what vanishes meanwhile counts nothing."""
    total = 0
    with contextlib.suppress(FileNotFoundError), os.scandir(folder) as entries:
        for entry in entries:
            with contextlib.suppress(FileNotFoundError):
                below = entry.is_dir(follow_symlinks=False)
                total += size_of(entry.path) if below else entry.stat(follow_symlinks=False).st_size
    return total


def summaries(most: int | None = None) -> list[dict[str, Any]]:
    """`summary` of every run, or of the newest `most`, newest first. What has not changed is not read again."""
    folder = str(registry.home("runs"))
    names = sorted((name for name in os.listdir(folder) if not name.startswith(".")), reverse=True)
    seen = index(folder)
    found = (known(seen, folder, name) for name in names)
    shown = list(itertools.islice(filter(None, found), most))
    seen.keep(names)
    return shown


@functools.cache
def index(folder: str) -> Index:
    """Of the runs in that folder."""
    return Index()


def known(seen: Index, folder: str, name: str) -> dict[str, Any] | None:
    """A run's summary, from the index while its files are the same; None for what is no run."""
    path, now = f"{folder}/{name}", time.time_ns()
    before = stamp(path)
    if before is None:
        return None
    remembered = seen.get(name, before)
    if remembered and not remembered["alive"]:
        return remembered  # a dead process stays dead: another start writes another handle
    run = Run(Path(path))
    try:
        lives = alive(run)
    except (Problem, ValueError, KeyError, TypeError, OSError):  # a border: torn, or of a later version
        lives = False
    if remembered and lives:
        return remembered
    return seen.put(name, before, summary(run, lives), now)


def summary(run: Run, alive: bool) -> dict[str, Any]:
    """What a list shows of it: id, title, state, alive, step, of, seconds_left, spark, result, started, bytes, journey (ID/STAGE).

    A damaged run must not hide the others: its state is “damaged”.
    """
    shown = {"id": run.id, "title": words(run.id), "state": "damaged", "alive": alive, "step": 0, "of": 0, "seconds_left": None,
             "spark": [], "result": None, "started": started(run), "bytes": size(run), "journey": None}  # fmt: skip
    with contextlib.suppress(
        Problem, ValueError, OSError, KeyError, TypeError
    ):  # a border: torn, of a later version, going
        story, now = summary_reader.glance(run.events), state(run, alive)
        step = summary_reader.last(story, "step") or {}
        shown |= {"title": title(run), "spark": summary_reader.spark(story), "result": summary_reader.result(now, story),
                  "step": step.get("step", 0), "of": step.get("of", 0), "state": now,
                  "seconds_left": step.get("seconds_left") if alive else None}  # fmt: skip
        shown["journey"] = load_json(run.path / "launch.json").get("journey")
    return shown


def started(run: Run) -> float:
    """When it was made, in seconds since 1970, as its name says; a folder of another name says it by its setup's date."""
    try:
        return time.mktime(time.strptime(run.id[:15], "%Y%m%d-%H%M%S"))
    except (ValueError, OverflowError):  # a border: a person may rename a folder
        return (run.path / "spec.json").stat().st_mtime


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
