"""JSON files that are read whole and replaced atomically. This is the one place that says what is wrong with a damaged one."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

from app.core.problems import Problem, shorten

MAX_NESTING = 100  # of lists and objects; what reads a file further, such as `repr`, has a limit of its own
_GENERAL_ADVICE = "Delete this file, or put back a copy of it."


class DamagedFile(Problem):
    """A file that exists and cannot be used. fault: what is wrong, such as “is empty”; its subject is the file."""

    def __init__(self, path: Path, fault: str, advice: str = ""):
        folder_and_name = f"{path.parent.name}/{path.name}"
        super().__init__(
            f"The file {folder_and_name} {fault}.", advice=advice or _GENERAL_ADVICE, reason="damaged_file"
        )
        self.path, self.fault = path, fault


def read_json(path: Path, shape: Any = dict[str, Any], advice: str = "") -> Any:
    """The content of a JSON file; empty when there is no such file.

    shape: a type that msgspec knows; fields of it that the type does not name are returned too. Raises DamagedFile for
    a file that cannot be read, is no JSON or has another shape. advice: what to do then.
    """
    return load_json(path, shape, advice) if path.exists() else {}


def load_json(path: Path, shape: Any, advice: str = "") -> Any:
    """`read_json` of a file that should exist: a missing one is damaged too."""
    if path.exists() and not (path.is_file() or path.is_dir()):
        raise DamagedFile(path, "is a pipe or a device", advice)  # which may have no end, or never begin
    try:
        content = path.read_bytes()
        data = json.loads(content)
    except OSError as error:  # boundary: the disk, and what a person or a power cut did to the file
        raise DamagedFile(path, f"cannot be read ({error.strerror})", advice) from error
    except RecursionError as error:
        raise DamagedFile(path, "is nested too deep", advice) from error
    except ValueError as error:
        fault = f"is not valid JSON ({shorten(str(error), 120)})" if content else "is empty"
        raise DamagedFile(path, fault, advice) from error
    if _is_nested_deeper(data, MAX_NESTING):
        raise DamagedFile(path, "is nested too deep", advice)
    require_shape(path, data, shape, advice)
    return data


def require_shape(path: Path, data: object, shape: Any, advice: str = "") -> None:
    """Raises DamagedFile when the content of this file has not the shape, see `read_json`."""
    try:
        msgspec.convert(data, shape)
    except msgspec.ValidationError as error:
        raise DamagedFile(path, f"does not hold what it should ({shorten(str(error), 120)})", advice) from error


def _is_nested_deeper(data: object, limit: int) -> bool:
    """Whether lists and objects are nested more than `limit` deep."""
    children = data.values() if isinstance(data, dict) else data if isinstance(data, list) else None
    return children is not None and (limit == 0 or any(_is_nested_deeper(child, limit - 1) for child in children))


def write_json(path: Path, data: Mapping[str, Any]) -> None:
    """Replaces the file atomically: no reader sees a partial file, also after a power cut."""
    temporary_path = path.with_name(f".{path.name}.{os.getpid()}")
    temporary_path.write_text(json.dumps(data, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    sync_to_disk(temporary_path)
    temporary_path.replace(path)


def sync_to_disk(path: Path) -> None:
    """Returns once the bytes of a file, or of all files below a folder, are on the disk."""
    for file in path.rglob("*") if path.is_dir() else [path]:
        if file.is_file():
            descriptor = os.open(file, os.O_RDONLY)
            try:
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
