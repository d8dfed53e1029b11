"""Registry: every file in a folder is one method, reward, layout, reader, tool, backend, preset or pipeline.

There is no table of names: adding a file is enough.
"""

from __future__ import annotations

import importlib
from difflib import get_close_matches
from types import ModuleType

from app.core.paths import ROOT
from app.core.problems import Problem

# Folder and file suffix of each kind, relative to the root of the code.
FOLDERS = {
    "methods": ("app/engine/methods", ".py"),
    "layouts": ("app/data/layouts", ".py"),
    "rewards": ("app/engine/rewards", ".py"),
    "tools": ("app/engine/tools", ".py"),
    "backends": ("backends", ".py"),
    "presets": ("presets", ".toml"),
    "pipelines": ("presets/pipelines", ".toml"),
    "readers": ("app/data/readers", ".py"),
    "questions": ("app/engine/questions", ".py"),
}


def names(kind: str) -> list[str]:
    """Sorted names of one kind. A file whose name starts with an underscore is not listed."""
    folder, suffix = FOLDERS[kind]
    return sorted(path.stem for path in (ROOT / folder).glob(f"*{suffix}") if not path.stem.startswith("_"))


def load_module(kind: str, name: str) -> ModuleType:
    """Imports and returns the module of this name. Raises Problem when there is no such file."""
    require_known(kind, name)
    return importlib.import_module(f"{FOLDERS[kind][0].replace('/', '.')}.{name}")


def require_known(kind: str, name: str) -> None:
    """Raises Problem, with the closest known name as advice, when the kind has no such name."""
    known_names = names(kind)
    if name not in known_names:
        singular = kind.removesuffix("s")
        raise Problem(f"There is no {singular} called “{name}”.", advice=suggest_name(name, known_names))


def suggest_name(name: str, known_names: list[str]) -> str:
    """Advice for a misspelt name: the closest known name, or all of them when none is close."""
    close_matches = get_close_matches(str(name), known_names, n=1, cutoff=0.5)
    return f"Did you mean “{close_matches[0]}”?" if close_matches else f"Choose one of: {', '.join(known_names)}."
