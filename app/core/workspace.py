"""Workspace: the folder with one person's runs, pipelines, uploads, caches and locks."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from app.core.paths import ROOT
from app.core.problems import Problem


@dataclass(frozen=True)
class Workspace:
    """What belongs to one person. It is passed to whatever reads or writes that, and never looked up.

    Its folders are created when they are asked for, private to the account; each raises Problem when it cannot be
    created or written to.
    """

    path: Path

    @property
    def runs(self) -> Path:
        return self.folder("runs")

    @property
    def pipelines(self) -> Path:
        return self.folder("journeys")  # as the first version named them

    @property
    def uploads(self) -> Path:
        return self.folder("uploads")

    @property
    def locks(self) -> Path:
        return self.folder("locks")

    def cache(self, namespace: str) -> Path:
        """Results that can be computed again, see app/core/cache.py."""
        return self.folder("cache", namespace)

    def folder(self, *names: str) -> Path:
        """A folder below it."""
        path = Path(self.path, *names)
        try:
            if not self.path.exists():
                self.path.mkdir(parents=True, exist_ok=True)  # another process may create it at the same time
                self.path.chmod(0o700)  # private to this account: uploads, completions and adapters
            path.mkdir(parents=True, exist_ok=True)
        except OSError as error:  # boundary: the disk
            raise _unusable_problem(f"The folder {path} cannot be made ({error.strerror}).") from error
        if not os.access(path, os.W_OK):
            raise _unusable_problem(f"The folder {path} cannot be written to.")
        return path


def local_workspace() -> Workspace:
    """That of the one person who uses this account: $TUNESMITH_HOME, or else ~/.tunesmith.

    A process asks for it where it starts and for what it reads on nobody else's behalf; its children inherit it. Engines
    run in ROOT, so a relative path is the same folder for all processes. Raises Problem where the path names an account
    that does not exist.
    """
    configured_path = os.environ.get("TUNESMITH_HOME") or "~/.tunesmith"
    path = Path(ROOT, os.path.expanduser(configured_path))
    if configured_path.startswith("~") and not os.path.expanduser(configured_path).startswith("/"):
        raise _unusable_problem(f"The folder {path} cannot be made (nobody has that name here).")
    return Workspace(path)


def _unusable_problem(text: str) -> Problem:
    return Problem(text, advice="Set TUNESMITH_HOME to a folder you may write to.")
