"""Folders of the program on this machine: its code, and the home folder that holds runs, uploads, caches and locks."""

from __future__ import annotations

import os
from pathlib import Path

from app.core.problems import Problem

ROOT = Path(__file__).resolve().parent.parent.parent  # of the code: app/, presets/, backends/ and tests/ lie here


def home(*subfolders: str) -> Path:
    """The home folder, `$TUNESMITH_HOME` or ~/.tunesmith, or a folder below it; created when missing.

    Raises Problem when it cannot be created or written to.
    """
    configured_home = os.environ.get("TUNESMITH_HOME") or "~/.tunesmith"
    path = Path(
        ROOT, os.path.expanduser(configured_home), *subfolders
    )  # engines run in ROOT, so a relative home is the same folder for all processes
    try:
        if configured_home.startswith("~") and not os.path.expanduser(configured_home).startswith("/"):
            raise OSError(0, "nobody has that name here")
        home_folder = Path(ROOT, os.path.expanduser(configured_home))
        if not home_folder.exists():
            home_folder.mkdir(parents=True, exist_ok=True)  # another process may create it at the same time
            home_folder.chmod(
                0o700
            )  # private to this account: uploads, completions and adapters, also on a shared machine
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:  # boundary: the disk
        raise Problem(
            f"The folder {path} cannot be made ({error.strerror}).",
            advice="Set TUNESMITH_HOME to a folder you may write to.",
        ) from error
    if not os.access(path, os.W_OK):
        raise Problem(
            f"The folder {path} cannot be written to.", advice="Set TUNESMITH_HOME to a folder you may write to."
        )
    return path
