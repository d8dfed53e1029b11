"""The list of runs: a summary of each, made again only when its files have changed."""

from __future__ import annotations

import contextlib
import functools
import itertools
import os
import shutil
import time
from pathlib import Path
from typing import TypedDict

from app.core.json_files import DamagedFile
from app.core.problems import Problem
from app.core.workspace import Workspace
from app.history import summary as summaries
from app.history.diagnoses import diagnose_events
from app.history.result_words import known_result_step
from app.history.run_index import RunIndex, RunSummary, file_stamp
from app.runs import cleanup
from app.runs.events import StepEvent, last_of_type
from app.runs.records import read_record
from app.runs.store import Run, creation_time, is_alive, run_state, run_title, title_from_id


def list_summaries(workspace: Workspace, limit: int | None = None) -> list[RunSummary]:
    """`summarize_run` of every run, or of the newest `limit`, newest first. Unchanged runs come from the index."""
    folder = str(workspace.runs)
    names = sorted((name for name in os.listdir(folder) if not name.startswith(".")), reverse=True)
    index = run_index(workspace)
    all_summaries = (_cached_summary(index, folder, name) for name in names)
    listed_summaries = list(itertools.islice(filter(None, all_summaries), limit))
    index.save(names)
    return listed_summaries


@functools.cache
def run_index(workspace: Workspace) -> RunIndex:
    """The index of the runs in this workspace, one for each process."""
    return RunIndex(workspace)


def _cached_summary(index: RunIndex, folder: str, name: str) -> RunSummary | None:
    """A run's summary, from the index while its files are unchanged; None when the folder is no run."""
    path, stamped_at = f"{folder}/{name}", time.time_ns()
    stamp = file_stamp(path)
    if stamp is None:
        return None
    cached_summary = index.get(name, stamp)
    if cached_summary and not cached_summary["alive"]:
        return cached_summary  # a dead process stays dead, and another start writes another handle
    run = Run(Path(path))
    try:
        alive = is_alive(run)
    except Problem:  # boundary: a file of a later version
        alive = False
    if cached_summary and alive:
        return cached_summary
    return index.put(name, stamp, summarize_run(run, alive), stamped_at)


def summarize_run(run: Run, alive: bool) -> RunSummary:
    """What lists show of a run.

    A run with a damaged setup gets the state “damaged”, and the reason as its result; it does not hide the others.
    """
    run_summary: RunSummary = {
        "id": run.id,
        "title": title_from_id(run.id),
        "state": "damaged",
        "alive": alive,
        "step": 0,
        "of": 0,
        "seconds_left": None,
        "spark": [],
        "result": None,
        "doubt": None,
        "started": creation_time(run),
        "bytes": cleanup.run_size(run),
        "journey": None,
    }
    try:
        _summarize_events(run, run_summary)
    except DamagedFile as damage:  # boundary: the disk
        run_summary["result"] = f"{damage.path.name} {damage.fault}"
    except Problem as problem:  # boundary: a file of a later version
        run_summary["result"] = problem.text
    except OSError:  # boundary: a run that is being deleted
        pass
    with contextlib.suppress(Problem, OSError):  # boundary: the same
        run_summary["journey"] = read_record(run.path / "launch.json").get("journey")
    return run_summary


def _summarize_events(run: Run, run_summary: RunSummary) -> None:
    """Fills in what a run's setup and events say. Raises Problem and OSError."""
    alive = run_summary["alive"]
    run_events, state = summaries.sample_events(run.events), run_state(run, alive)
    last_step = last_of_type(run_events, StepEvent)
    result_step = known_result_step(run)
    worst = next(iter(diagnose_events(run_events, run.spec, result_step=result_step)), None)
    doubt = (worst.severity, worst.title) if worst else None
    run_summary |= {
        "title": run_title(run),
        "spark": summaries.sparkline(run_events),
        "result": summaries.result_text(state, run_events, result_step, doubt),
        "doubt": worst.severity if worst else None,
        "step": last_step.step if last_step else 0,
        "of": last_step.of if last_step else 0,
        "state": state,
        "seconds_left": last_step.seconds_left if last_step and alive else None,
    }


class DiskUsage(TypedDict):
    """used: bytes of all runs. free: free bytes on their disk."""

    used: int
    free: int


def disk_usage(workspace: Workspace) -> DiskUsage:
    """How much of the disk the runs use."""
    used = sum(run_summary["bytes"] for run_summary in list_summaries(workspace))
    return {"used": used, "free": shutil.disk_usage(workspace.runs).free}
