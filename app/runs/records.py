"""Records: the small JSON files of runs and pipeline runs, each with the version of its shape.

This is the one place where the shapes of earlier versions are turned into today's. Events need no version: readers leave
out fields and kinds that they do not know. A Spec has a version of its own, as links and files carry it alone.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from app.core.json_files import read_json, write_json
from app.core.problems import Problem

VERSION = 2  # since 2, handle.json identifies a process by its start ticks where the system has them
Record = dict[str, Any]
# {(name of the file, version): what makes a record of the next version of it}; without an entry the shape is the same.
MIGRATIONS: dict[tuple[str, int], Callable[[Record], Record]] = {}


def read_record(path: Path) -> Record:
    """The record in today's shape, without its version; empty when there is no such file. One without a version was
    written before there were any, in the shape of version 1.

    Raises Problem for a later version.
    """
    record = read_json(path)
    if not isinstance(record, dict):
        return {}
    version = record.pop("v", 1)
    if version not in range(1, VERSION + 1):
        raise Problem(
            f"The file {path.name} was written by a newer version of Tunesmith.", advice="Update, and open it again."
        )
    for older in range(version, VERSION):
        record = MIGRATIONS.get((path.name, older), _unchanged)(record)
    return record


def write_record(path: Path, record: Mapping[str, Any]) -> None:
    """Replaces the file atomically, in today's shape."""
    write_json(path, {"v": VERSION, **record})


def _unchanged(record: Record) -> Record:
    return record
