"""Agent: answers, on the other machine, what a Tunesmith elsewhere asks of its runs there: `python -m app.remote.agent`.

It speaks over stdin and stdout (app/remote/channel.py) and ends with its connection; engines that it started go on. It runs
with the code and the workspace that were put there, so a run is one like any other, in a queue of that machine's own.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypedDict

from app.core import platform, registry
from app.core.json_files import write_json
from app.core.paths import ROOT
from app.core.problems import Problem, to_problem
from app.core.processes import redirect_stdout_to_stderr
from app.core.workspace import Workspace, local_workspace
from app.remote.channel import Message, read_message, write_message
from app.remote.mirrored_files import list_files
from app.remote.received_files import PresentFiles, ReceivedPart, place_file, present_files, receive_part
from app.runs import cleanup, events, records, store
from app.runs.store import Run
from app.setup.spec import Launch, parse_spec

_POLL_SECONDS = 0.1
_MAX_LINES_BYTES = 4_000_000  # of events in one answer
ORIGIN_FILE = "origin.json"  # in a run's folder: which home started it


class FarRun(TypedDict):
    """A run on this machine. home: of the workspace that started it. bytes: of its folder."""

    id: str
    home: str
    title: str
    state: str
    alive: bool
    bytes: int


# -- what travels ----------------------------------------------------------------------------------------------------


def answer_present(workspace: Workspace, hashes: list[str], **_: Any) -> PresentFiles:
    """Which files are here."""
    return present_files(workspace, hashes)


def answer_put(workspace: Workspace, hash: str, offset: int, size: int, payload: bytes) -> ReceivedPart:
    """Takes a part of a file."""
    return receive_part(workspace, hash, offset, size, payload)


# -- runs ------------------------------------------------------------------------------------------------------------


def answer_create(
    workspace: Workspace, run: str, spec: Any, origin: dict[str, Any], files: list[dict[str, str]], **_: Any
) -> dict[str, Any]:
    """Puts what a run needs in its place. A run that is here already keeps its folder, unless `origin` knows more of it."""
    for file in files:
        if not file["path"].startswith(f"runs/{run}/"):
            place_file(workspace, file)
    folder = _run_folder(workspace, run)
    if not (folder / "spec.json").exists() or _last_seq(folder) < origin["seq"]:
        with platform.keep_unlocked(workspace.folder("locks") / f"create-{run}"):
            _create_folder(workspace, folder, files)
    write_json(folder / "spec.json", parse_spec(spec).to_dict())
    write_json(folder / ORIGIN_FILE, origin)
    return {"seq": _last_seq(folder)}


def _create_folder(workspace: Workspace, folder: Path, files: list[dict[str, str]]) -> None:
    """The run's folder with the files that it brings, in the place of an earlier one."""
    if folder.exists():
        shutil.rmtree(cleanup.hide_folder(folder))
    for file in files:
        if file["path"].startswith(f"runs/{folder.name}/"):
            place_file(workspace, file)
    folder.mkdir(exist_ok=True)


def answer_start(workspace: Workspace, run: str, launch: Any, environment: dict[str, str], **_: Any) -> dict[str, Any]:
    """Starts or resumes a run here. environment: secrets for the engine alone. Returns its handle."""
    found_run, checked_launch = Run(_run_folder(workspace, run)), Launch.model_validate(launch)
    if store.is_alive(found_run):
        return {"handle": found_run.handle}
    store.write_launch(found_run, checked_launch)
    with _added_to_environment(environment):
        handle = registry.load_module("backends", "local").start(found_run, checked_launch)
    return {"handle": handle}


@contextlib.contextmanager
def _added_to_environment(variables: dict[str, str]) -> Iterator[None]:
    before = dict(os.environ)
    os.environ.update(variables)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


def answer_stop(workspace: Workspace, run: str, **_: Any) -> dict[str, Any]:
    """Saves and stops, then insists. Returns how far it had to go."""
    return {"how": registry.load_module("backends", "local").stop(Run(_run_folder(workspace, run)).handle)}


def answer_control(workspace: Workspace, run: str, requests: list[dict[str, str]], **_: Any) -> dict[str, Any]:
    """Appends requests to control.jsonl, each once, however often it is sent."""
    path = Run(_run_folder(workspace, run)).control
    known = path.read_text(errors="replace") if path.exists() else ""
    new_requests = [request for request in requests if json.dumps(request["id"]) not in known]
    with path.open("ab") as file:
        file.write(b"".join(json.dumps(request).encode() + b"\n" for request in new_requests))
    return {}


def answer_watch(workspace: Workspace, run: str, after_seq: int, files: str, wait: float, **_: Any) -> dict[str, Any]:
    """What is new of a run: events after `after_seq`, and the listing of its files unless that is the one with the digest
    `files`. Answers once there is something new, or after `wait` seconds."""
    found_run = Run(_run_folder(workspace, run))
    if not (found_run.path / "spec.json").exists():
        raise Problem(
            f"The run {run} is not on this machine any more.",
            advice="What was fetched can be resumed.",
            reason="run_gone",
        )
    deadline = time.monotonic() + wait
    while True:
        alive = store.is_alive(found_run)  # before reading, so that what was written just before the end is read
        lines = _lines_after(found_run, after_seq)
        listing = list_files(found_run.path)
        if lines or listing["digest"] != files or not alive or time.monotonic() >= deadline:
            break
        time.sleep(_POLL_SECONDS)
    precision = found_run.spec.knobs.get("precision")
    news: dict[str, Any] = {"lines": lines, "alive": alive, "precision": precision}
    return news | ({"listing": listing} if listing["digest"] != files or not alive else {})


_offsets: dict[tuple[str, int], int] = {}  # {(events file, seq): where the next line begins}, of the last answer


def _lines_after(run: Run, after_seq: int) -> list[str]:
    """Complete lines of events with a higher seq, as they stand in the file."""
    if not run.events.exists():
        return []
    key = (str(run.events), after_seq)
    offset = _offsets.get(key, 0)
    with run.events.open("rb") as file:
        file.seek(offset)
        content = file.read(_MAX_LINES_BYTES)
    content = content[: content.rfind(b"\n") + 1]
    lines = []
    for line in content.splitlines(keepends=True):
        event = events.parse_line(line)
        if event and event.seq > after_seq:
            lines.append(line.decode())
    last = events.parse_line(lines[-1]) if lines else None
    _offsets.clear()
    _offsets[(str(run.events), last.seq) if last else key] = offset + len(content)
    return lines


def answer_read(
    workspace: Workspace, run: str, path: str, offset: int, size: int, **_: Any
) -> tuple[dict[str, Any], bytes]:
    """Bytes of a file of a run. Raises Problem for a file outside its folder."""
    folder = _run_folder(workspace, run).resolve()
    file_path = (folder / path).resolve()
    if not file_path.is_relative_to(folder):
        raise Problem("That file is not part of the run.")
    try:
        with file_path.open("rb") as file:
            file.seek(offset)
            return {}, file.read(size)
    except OSError as error:  # boundary: a checkpoint that was just deleted there
        raise Problem(f"The file {path} cannot be read ({error.strerror}).", reason="file_gone") from error


def answer_runs(workspace: Workspace, **_: Any) -> dict[str, Any]:
    """The runs on this machine, newest first."""
    return {
        "runs": [_describe(run) for run in store.list_runs(workspace)],
        "free": shutil.disk_usage(workspace.runs).free,
    }


def _describe(run: Run) -> FarRun:
    alive = store.is_alive(run)
    origin = records.read_record(run.path / ORIGIN_FILE)
    return {
        "id": run.id,
        "home": str(origin.get("home", "")),
        "title": store.title_from_id(run.id),
        "state": store.run_state(run, alive),
        "alive": alive,
        "bytes": cleanup.run_size(run),
    }


def answer_describe(workspace: Workspace, run: str, **_: Any) -> dict[str, Any]:
    """The setup, launch and origin of a run, to go on with it from another home."""
    found_run = Run(_run_folder(workspace, run))
    return {
        "spec": found_run.spec.to_dict(),
        "launch": found_run.launch.model_dump(exclude_none=True),
        "origin": records.read_record(found_run.path / ORIGIN_FILE),
        "handle": found_run.handle,
        "code": str(ROOT),
    }


def answer_delete(workspace: Workspace, run: str, **_: Any) -> dict[str, Any]:
    """Deletes a run here. Returns the number of freed bytes. Raises Problem while it runs."""
    return {"freed": cleanup.delete_run(Run(_run_folder(workspace, run)))}


def answer_hello(workspace: Workspace, **_: Any) -> dict[str, Any]:
    """Where everything lies, and how much room there is."""
    free = shutil.disk_usage(workspace.runs).free  # makes the folders
    return {"workspace": str(workspace.path), "code": str(ROOT), "free": free}


def _run_folder(workspace: Workspace, run: str) -> Path:
    if not store.RUN_ID_PATTERN.fullmatch(run):
        raise store.run_not_found()
    return workspace.runs / run


def _last_seq(folder: Path) -> int:
    last = events.last_event(folder / "events.jsonl")
    return last.seq if last else 0


# -- the process -----------------------------------------------------------------------------------------------------

_OPERATIONS: dict[str, Callable[..., Any]] = {
    name.removeprefix("answer_"): function for name, function in globals().items() if name.startswith("answer_")
}


def _answer(workspace: Workspace, message: Message) -> tuple[dict[str, Any], bytes]:
    fields = dict(message.fields)
    operation = _OPERATIONS[fields.pop("operation")]
    answered = operation(workspace, payload=message.payload, **fields)
    return answered if isinstance(answered, tuple) else (answered, b"")


def main() -> None:
    """Answers until the connection ends."""
    output = os.fdopen(os.dup(1), "wb")
    redirect_stdout_to_stderr()
    workspace = local_workspace()
    while message := read_message(sys.stdin.buffer):
        try:
            fields, payload = _answer(workspace, message)
        except Exception as error:  # the outermost boundary of this process
            problem = to_problem(error)
            told = {"text": problem.text, "advice": problem.advice, "reason": problem.reason}
            fields, payload = {"problem": told}, b""
        write_message(output, fields, payload)


if __name__ == "__main__":
    main()
