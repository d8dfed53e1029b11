"""What is known of a run that trains on another machine: mirror.json in its folder, which its mirror keeps current.

The mirror (app/remote/mirror.py) is a process here that copies what the engine there writes. No contact says nothing of
the engine: it may train on, so only the machine itself, or the person, says that it has ended.
"""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any, Literal, TypedDict, cast

from app.core.json_files import DamagedFile
from app.runs.records import read_record, write_record

MIRROR_FILE = "mirror.json"
MIRROR_LOCK = ".mirror.lock"  # held by the mirror for as long as it lives

EngineStatus = Literal["running", "ended"]


class MirrorRecord(TypedDict):
    """machine: its title. engine: what was last heard of it. connected: whether the machine answers. contact: Unix time of
    its last answer, by this machine's clock. reason: why it does not answer, or what the run waits for; empty otherwise.
    bytes_left: of files that are still being fetched."""

    machine: str
    engine: EngineStatus
    connected: bool
    contact: float
    reason: str
    bytes_left: int


def new_mirror_record(machine_title: str) -> MirrorRecord:
    """That of a run whose machine has just answered that it was started."""
    return {
        "machine": machine_title,
        "engine": "running",
        "connected": True,
        "contact": time.time(),
        "reason": "",
        "bytes_left": 0,
    }


def read_mirror_record(run_folder: Path) -> MirrorRecord | None:
    """None for a run on this machine, and where the file is damaged: the mirror then writes another."""
    path = run_folder / MIRROR_FILE
    if not os.path.exists(path):  # the usual case, of which lists ask for each run
        return None
    try:
        record: dict[str, Any] = read_record(path)
    except DamagedFile:  # boundary: the disk
        return None
    return cast(MirrorRecord, record)


def write_mirror_record(run_folder: Path, record: MirrorRecord) -> None:
    """Replaces the file atomically."""
    write_record(run_folder / MIRROR_FILE, record)


def is_running_elsewhere(run_folder: Path) -> bool:
    """Whether the engine of a run on another machine has not ended, as far as is known here."""
    record = read_mirror_record(run_folder)
    return record is not None and record["engine"] == "running"


def describe_place(record: MirrorRecord | None) -> str | None:
    """Where a run is and whether it is heard of, in words; None for one on this machine."""
    if record is None:
        return None
    machine = record["machine"]
    if record["engine"] == "ended" or record["connected"]:
        return f"on {machine}"
    minutes = int((time.time() - record["contact"]) / 60)
    since = f"for {minutes} minutes" if minutes > 1 else "for a minute" if minutes else "at the moment"
    return f"on {machine}, without contact {since}; it may still be training. {record['reason']}".strip()
