"""Care: runs get other titles, lose checkpoints nobody needs, and say what they weigh."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from app.core import registry
from app.core.problems import Problem
from app.runs import checkpoints
from app.runs.store import Run, refuse_alive, size_of, summaries, write_json
from app.setup.spec import read


def rename(run: Run, title: str) -> None:
    """Gives it another title; its id stays, and with it every link to it. Raises Problem for an empty or long one."""
    title = " ".join(title.split())
    if not title:
        raise Problem("A run needs a title.", advice="Type a word or two.")
    spec = run.spec.to_dict() | {"title": title}
    write_json(run.path / "spec.json", read(spec).to_dict())


def tidy(run: Run) -> int:
    """Keeps its best and its last checkpoint and removes the others; returns the bytes that frees.

    The last one is what a run is resumed from. Raises Problem while a process works on it.
    """
    refuse_alive(run, "tidied")
    freed = 0
    for path in spare(run):
        freed += size_of(path)
        shutil.rmtree(path)
    os.utime(run.path)  # what was read of it before no longer holds
    return freed


def spare(run: Run) -> list[Path]:
    """Checkpoints that are neither the last whole one nor the best; half-written ones too."""
    kept = {*checkpoints.whole(run.checkpoints)} - {*checkpoints.surplus(run.checkpoints)}
    return [path for path in checkpoints.every(run.checkpoints) if path not in kept]


def disk() -> dict[str, int]:
    """{"used": bytes of all runs, "free": bytes left on their disk}."""
    used = sum(one["bytes"] for one in summaries())
    return {"used": used, "free": shutil.disk_usage(registry.home("runs")).free}
