"""Rooms: the folder is the menu. Which methods, rewards, backends and presets exist, and where runs live."""

from __future__ import annotations

import importlib
import os
from difflib import get_close_matches
from pathlib import Path
from types import ModuleType

from app.core.problems import Problem

ROOT = Path(__file__).resolve().parent.parent.parent

FOLDERS = {
    "methods": ("app/engine/methods", ".py"),
    "layouts": ("app/data/layouts", ".py"),
    "rewards": ("app/engine/rewards", ".py"),
    "tools": ("app/engine/tools", ".py"),
    "backends": ("backends", ".py"),
    "presets": ("presets", ".toml"),
    "pipelines": ("presets/pipelines", ".toml"),
    "readers": ("app/data/readers", ".py"),
}


def choices(room: str) -> list[str]:
    """Names of everything in a room, sorted; a leading underscore hides a file."""
    folder, suffix = FOLDERS[room]
    return sorted(path.stem for path in (ROOT / folder).glob(f"*{suffix}") if not path.stem.startswith("_"))


def load(room: str, name: str) -> ModuleType:
    """The module behind a name. Raises Problem when no such file exists."""
    require(room, name)
    return importlib.import_module(f"{FOLDERS[room][0].replace('/', '.')}.{name}")


def require(room: str, name: str) -> None:
    """Raises Problem with the nearest name when `name` is not in the room."""
    known = choices(room)
    if name not in known:
        thing = room.removesuffix("s")
        raise Problem(f"There is no {thing} called “{name}”.", advice=nearest(name, known))


def nearest(name: str, known: list[str]) -> str:
    """A next step for a misspelt name: the closest one, or the whole list."""
    close = get_close_matches(str(name), known, n=1, cutoff=0.5)
    return f"Did you mean “{close[0]}”?" if close else f"Choose one of: {', '.join(known)}."


def home(*parts: str) -> Path:
    """`$TUNESMITH_HOME` (default ~/.tunesmith) or a folder below it, made when missing. Raises Problem if it can't be."""
    named = os.environ.get("TUNESMITH_HOME") or "~/.tunesmith"
    path = Path(ROOT, os.path.expanduser(named), *parts)  # engines work in ROOT: a relative home is the same for all
    try:
        if named.startswith("~") and not os.path.expanduser(named).startswith("/"):
            raise OSError(0, "nobody has that name here")
        whole = Path(ROOT, os.path.expanduser(named))
        if not whole.exists():
            whole.mkdir(parents=True, exist_ok=True)  # another process may make it at this moment
            whole.chmod(0o700)  # uploads, answers and results are nobody else's, also where people share a machine
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:  # a border: somebody else's disk
        raise Problem(
            f"The folder {path} cannot be made ({error.strerror}).",
            advice="Set TUNESMITH_HOME to a folder you may write to.",
        ) from error
    if not os.access(path, os.W_OK):
        raise Problem(
            f"The folder {path} cannot be written to.", advice="Set TUNESMITH_HOME to a folder you may write to."
        )
    return path
