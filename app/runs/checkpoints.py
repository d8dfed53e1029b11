"""Checkpoints: whole ones carry a mark, so that a kill or a full disk in the middle of saving never loses the last good one."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

MARK = "whole.json"
KEPT = 2  # the newest, and the one before it


def complete(folder: Path, step: int, facts: dict[str, Any]) -> Path:
    """Marks checkpoint-STEP as whole once its bytes are on the disk, then removes older ones, but not the best.

    facts: what is known of the run at that step; "score" is its latest test, higher is better.
    """
    path = folder / f"checkpoint-{step}"
    for file in path.rglob("*"):
        if file.is_file():
            sync(file)
    mark = path / f".{MARK}"
    mark.write_text(json.dumps({"step": step, **facts}), encoding="utf-8")
    sync(mark)
    mark.rename(path / MARK)
    tidy(folder, KEPT)
    return path


def tidy(folder: Path, newest: int = 1) -> None:
    """Removes all but the newest ones and the best; whoever reads the run may rely on both."""
    for old in surplus(folder, newest):
        shutil.rmtree(old)


def surplus(folder: Path, newest: int = 1) -> list[Path]:
    """Whole checkpoints that are neither among the newest nor the best. Equally good ones: the later is the best."""
    found = whole(folder)
    scored = [(score, step_of(path), path) for path in found if (score := facts_of(path).get("score")) is not None]
    kept = {*found[-newest:], *([max(scored)[-1]] if scored else [])}
    return [path for path in found if path not in kept]


def sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def whole(folder: Path) -> list[Path]:
    """Whole checkpoints, oldest first."""
    return sorted((path for path in every(folder) if (path / MARK).exists()), key=step_of)


def every(folder: Path) -> list[Path]:
    """Whole or not; what else lies there is somebody's own."""
    return [path for path in folder.glob("checkpoint-*") if path.name.removeprefix("checkpoint-").isdecimal()]


def newest(folder: Path) -> Path | None:
    """The one to resume from; half-written ones are removed on the way."""
    for path in every(folder):
        if not (path / MARK).exists():
            shutil.rmtree(path)
    return next(reversed(whole(folder)), None)


def step_of(path: Path) -> int:
    return int(path.name.removeprefix("checkpoint-"))


def facts_of(path: Path) -> dict[str, Any]:
    return json.loads((path / MARK).read_text(encoding="utf-8"))
