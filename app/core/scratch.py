"""Scratch folders: files that a process needs for a while. What a killed process leaves is removed by the next one."""

from __future__ import annotations

import contextlib
import shutil
import tempfile
from pathlib import Path

from app.core import platform
from app.core.workspace import Workspace

_LOCK = ".lock"  # in each scratch folder, held by its process for as long as it lives; and in the folder of all


class ScratchFolder:
    """A new folder of this process. As a context manager it gives `path`, and removes the folder at the end."""

    def __init__(self, workspace: Workspace):
        all_folders = workspace.folder("scratch")
        with (all_folders / _LOCK).open("w") as lock:
            platform.lock_file(lock)  # else a folder would look abandoned until its process has locked it
            _remove_abandoned(all_folders)
            self._folder = Path(tempfile.mkdtemp(dir=all_folders))
            self._lock = (self._folder / _LOCK).open("w")
            platform.lock_file(self._lock)
        self.path = self._folder / "files"
        self.path.mkdir()

    def __enter__(self) -> Path:
        return self.path

    def __exit__(self, *error: object) -> None:
        self.remove()

    def remove(self) -> None:
        """Removes the folder with all that is in it."""
        shutil.rmtree(self._folder, ignore_errors=True)
        self._lock.close()


def _remove_abandoned(all_folders: Path) -> None:
    for lock in all_folders.glob(f"*/{_LOCK}"):
        if not platform.is_locked(lock):
            with contextlib.suppress(OSError):  # a boundary: the disk
                shutil.rmtree(lock.parent)
