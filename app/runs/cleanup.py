"""Cleanup of runs: another title, deleting a run or the checkpoints that nobody needs, and how much room a run takes."""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

from app.core import cache, platform
from app.core.json_files import write_json
from app.core.problems import Problem
from app.runs import checkpoints
from app.runs.store import HISTORY_CACHE, Run, is_alive, run_title
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
    freed_bytes = 0
    with without_engine(run, "tidied"):
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


def delete_run(run: Run) -> int:
    """Deletes the run and returns the number of freed bytes. Raises Problem while a process works on it.

    The run leaves all lists at once, also when deleting its files takes long.
    """
    with without_engine(run, "deleted"):
        freed_bytes = run_size(run)
        hidden_folder = hide_folder(run.path)
        cache.delete(run.workspace, HISTORY_CACHE, run.id)
        shutil.rmtree(hidden_folder)
    return freed_bytes


def hide_folder(folder: Path) -> Path:
    """Renames a folder so that no list shows it any more. Returns the new path, to be deleted."""
    return folder.rename(folder.with_name(f".deleted-{folder.name}"))


@contextlib.contextmanager
def without_engine(run: Run, participle: str) -> Iterator[None]:
    """Lets no engine start on the run in the `with` block. Raises Problem while one works on it, whatever its handle
    says. participle: what would be done to the run, such as “deleted”."""
    with platform.keep_unlocked(run.engine_lock) as is_unlocked:
        if not is_unlocked or is_alive(run):
            raise Problem(f"“{run_title(run)}” is running, so it cannot be {participle}.", advice="Stop it first.")
        yield


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
