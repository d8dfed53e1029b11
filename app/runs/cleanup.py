"""Cleanup of runs: another title, and deleting checkpoints that nobody needs."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from app.core.problems import Problem
from app.runs import checkpoints
from app.runs.store import Run, folder_size, require_not_running, write_json
from app.setup.spec import parse_spec


def rename_run(run: Run, title: str) -> None:
    """Changes the title; the id stays, so links to the run still work.

    Raises Problem for an empty or too long title.
    """
    title = " ".join(title.split())
    if not title:
        raise Problem("A run needs a title.", advice="Type a word or two.")
    spec = run.spec.to_dict() | {"title": title}
    write_json(run.path / "spec.json", parse_spec(spec).to_dict())


def delete_surplus_checkpoints(run: Run) -> int:
    """Deletes all checkpoints but the best and the last, which the run is resumed from.

    Returns the number of freed bytes.

    Raises Problem while a process works on the run.
    """
    require_not_running(run, "tidied")
    freed_bytes = 0
    for path in _surplus_paths(run):
        freed_bytes += folder_size(path)
        shutil.rmtree(path)
    os.utime(run.path)  # makes the cached summary of the run invalid
    return freed_bytes


def _surplus_paths(run: Run) -> list[Path]:
    """Checkpoints that are neither the last complete one nor the best; incomplete ones too."""
    kept_paths = {*checkpoints.complete_checkpoints(run.checkpoints)} - {
        *checkpoints.surplus_checkpoints(run.checkpoints)
    }
    return [path for path in checkpoints.all_checkpoints(run.checkpoints) if path not in kept_paths]
