"""Checkpoints of a run.

Only complete ones have a mark, so a kill or a full disk during saving never loses the last good one. The mark also says
how the files were, so that one that was damaged later is not used.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple, TypedDict

from app.core.json_files import DamagedFile, load_json, sync_to_disk
from app.runs.checkpoint_files import COMPLETE_MARK, FileStamp, file_stamps, find_fault

KEEP_COUNT = 2  # newest checkpoints that are kept, besides the best


class _Mark(TypedDict, total=False):
    """score: of the held-out rows, higher is better. metric: that it was made of, by its name without `eval/`; missing
    where the step was not evaluated, and in checkpoints of earlier versions, whose score may be that of a step before.
    files: {path: its stamp}; missing in checkpoints of earlier versions."""

    step: int
    tokens: int | float
    score: float | None
    metric: str | None
    files: dict[str, FileStamp]


class ResumePoint(NamedTuple):
    """Where a run goes on. checkpoint: None for its beginning. faults: {step of a newer checkpoint: why it is not used}."""

    checkpoint: Path | None
    faults: dict[int, str]


def mark_complete(folder: Path, step: int, metadata: dict[str, Any]) -> Path:
    """Marks checkpoint-STEP as complete once its bytes are on the disk, then deletes surplus checkpoints.

    Returns its path.

    metadata: the state of the run at that step, stored in the mark; "score" is that of its evaluation, higher is better.
    """
    path = folder / f"checkpoint-{step}"
    sync_to_disk(path)
    temporary_mark = path / f".{COMPLETE_MARK}"
    temporary_mark.write_text(json.dumps({"step": step, **metadata, "files": file_stamps(path)}), encoding="utf-8")
    sync_to_disk(temporary_mark)
    temporary_mark.rename(path / COMPLETE_MARK)
    delete_surplus(folder, KEEP_COUNT)
    return path


def delete_surplus(folder: Path, keep_count: int = 1) -> None:
    """Deletes all complete checkpoints but the `keep_count` newest and the best."""
    for path in surplus_checkpoints(folder, keep_count):
        shutil.rmtree(path)


def surplus_checkpoints(folder: Path, keep_count: int = 1) -> list[Path]:
    """Complete checkpoints that are neither among the newest nor the best. Of equal scores the later is the best.

    Damaged ones are surplus too, and do not count among the newest.
    """
    usable = usable_checkpoints(folder)
    kept_paths = {*usable[-keep_count:], *filter(None, [best_of(usable)])}
    return [path for path in complete_checkpoints(folder) if path not in kept_paths]


def usable_checkpoints(folder: Path) -> list[Path]:
    """Complete checkpoints whose files are as they were saved, oldest first."""
    return [path for path in complete_checkpoints(folder) if fault_of(path) is None]


def best_of(usable: Iterable[Path], metric: str | None = None) -> Path | None:
    """The checkpoint with the highest score, of equal ones the later; None where none has a score.

    metric: only the scores made of this metric count; by default that of the newest checkpoint with one. A score of an
    earlier version, which does not say what it was made of, counts as one of this metric.
    """
    scored = [
        (metadata["score"], checkpoint_step(path), path, metadata.get("metric"))
        for path in usable
        if (metadata := checkpoint_metadata(path)).get("score") is not None
    ]
    own_metric = metric or max(((step, name) for _, step, _, name in scored if name), default=(0, None))[1]
    comparable = [(score, step, path) for score, step, path, name in scored if name in (None, own_metric)]
    return max(comparable)[-1] if comparable else None


def complete_checkpoints(folder: Path) -> list[Path]:
    """Complete checkpoints, oldest first."""
    return sorted((path for path in all_checkpoints(folder) if (path / COMPLETE_MARK).exists()), key=checkpoint_step)


def all_checkpoints(folder: Path) -> list[Path]:
    """Complete and incomplete checkpoints, in no order. Other files in the folder are not ours."""
    return [path for path in folder.glob("checkpoint-*") if path.name.removeprefix("checkpoint-").isdecimal()]


def latest_for_resume(folder: Path) -> ResumePoint:
    """The newest complete checkpoint whose files are as they were saved. Deletes incomplete ones, and takes the mark from
    damaged ones: the run saves these steps again."""
    for path in all_checkpoints(folder):
        if not (path / COMPLETE_MARK).exists():
            shutil.rmtree(path)
    faults: dict[int, str] = {}
    for path in reversed(complete_checkpoints(folder)):
        fault = fault_of(path)
        if fault is None:
            return ResumePoint(path, faults)
        faults[checkpoint_step(path)] = fault
        (path / COMPLETE_MARK).unlink(missing_ok=True)
    return ResumePoint(None, faults)


def fault_of(path: Path) -> str | None:
    """Why a complete checkpoint cannot be used, such as “optimizer.pt is missing”; None for one in order."""
    try:
        mark = _read_mark(path)
    except DamagedFile as damage:
        return f"{COMPLETE_MARK} {damage.fault}"
    stamps = mark.get("files")
    return find_fault(path, stamps and {name: FileStamp(*stamp) for name, stamp in stamps.items()})


def checkpoint_step(path: Path) -> int:
    """The training step in the folder's name."""
    return int(path.name.removeprefix("checkpoint-"))


def checkpoint_metadata(path: Path) -> dict[str, Any]:
    """The metadata in the mark of a complete checkpoint, with its "step". Raises DamagedFile."""
    return {name: value for name, value in _read_mark(path).items() if name != "files"}


def _read_mark(path: Path) -> _Mark:
    mark: _Mark = load_json(path / COMPLETE_MARK, _Mark)
    return mark
