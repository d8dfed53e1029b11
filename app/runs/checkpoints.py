"""Checkpoints of a run.

Only complete ones have a mark, so a kill or a full disk during saving never loses the last good one.
"""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

COMPLETE_MARK = "whole.json"
KEEP_COUNT = 2  # newest checkpoints that are kept, besides the best


def mark_complete(folder: Path, step: int, metadata: dict[str, Any]) -> Path:
    """Marks checkpoint-STEP as complete once its bytes are on the disk, then deletes surplus checkpoints.

    Returns its path.

    metadata: the state of the run at that step, stored in the mark; "score" is its latest evaluation, higher is better.
    """
    path = folder / f"checkpoint-{step}"
    for file in path.rglob("*"):
        if file.is_file():
            _sync_to_disk(file)
    temporary_mark = path / f".{COMPLETE_MARK}"
    temporary_mark.write_text(json.dumps({"step": step, **metadata}), encoding="utf-8")
    _sync_to_disk(temporary_mark)
    temporary_mark.rename(path / COMPLETE_MARK)
    delete_surplus(folder, KEEP_COUNT)
    return path


def delete_surplus(folder: Path, keep_count: int = 1) -> None:
    """Deletes all complete checkpoints but the `keep_count` newest and the best."""
    for path in surplus_checkpoints(folder, keep_count):
        shutil.rmtree(path)


def surplus_checkpoints(folder: Path, keep_count: int = 1) -> list[Path]:
    """Complete checkpoints that are neither among the newest nor the best. Of equal scores the later is the best."""
    checkpoints = complete_checkpoints(folder)
    scored = [
        (score, checkpoint_step(path), path)
        for path in checkpoints
        if (score := checkpoint_metadata(path).get("score")) is not None
    ]
    kept_paths = {*checkpoints[-keep_count:], *([max(scored)[-1]] if scored else [])}
    return [path for path in checkpoints if path not in kept_paths]


def _sync_to_disk(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def complete_checkpoints(folder: Path) -> list[Path]:
    """Complete checkpoints, oldest first."""
    return sorted((path for path in all_checkpoints(folder) if (path / COMPLETE_MARK).exists()), key=checkpoint_step)


def all_checkpoints(folder: Path) -> list[Path]:
    """Complete and incomplete checkpoints, in no order. Other files in the folder are not ours."""
    return [path for path in folder.glob("checkpoint-*") if path.name.removeprefix("checkpoint-").isdecimal()]


def latest_for_resume(folder: Path) -> Path | None:
    """The newest complete checkpoint, or None. Deletes incomplete ones."""
    for path in all_checkpoints(folder):
        if not (path / COMPLETE_MARK).exists():
            shutil.rmtree(path)
    return next(reversed(complete_checkpoints(folder)), None)


def checkpoint_step(path: Path) -> int:
    """The training step in the folder's name."""
    return int(path.name.removeprefix("checkpoint-"))


def checkpoint_metadata(path: Path) -> dict[str, Any]:
    """The metadata in the mark of a complete checkpoint, with its "step"."""
    return json.loads((path / COMPLETE_MARK).read_text(encoding="utf-8"))
