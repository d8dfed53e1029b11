"""Emitter: writes a run's events, each once, whatever happened before and however full the disk is."""

from __future__ import annotations

import contextlib
import errno
import json
import math
import os
import sys
import time
from pathlib import Path
from typing import Any

from app.core.problems import shorten
from app.runs import events

RESERVE = 64 * 1024  # bytes kept back, so that a full disk still leaves room for the last word
SYNCED = ("state", "saved", "failed", "done")


class Emitter:
    """Appends to events.jsonl and prints the same lines to stdout with the prefix.

    Opening repairs a torn last line, and goes on counting after the last whole event, as the next attempt.
    """

    def __init__(self, folder: Path):
        self.path = folder / "events.jsonl"
        self.reserve = folder / ".reserve"
        self.samples = folder / "samples"
        repair(self.path)
        before = events.read(self.path)
        self.seq = before[-1]["seq"] if before else 0
        self.attempt = before[-1]["attempt"] + 1 if before else 1
        self.answered = {event.get("control") for event in before if event["kind"] == "note"}
        if not self.reserve.exists() or self.reserve.stat().st_size < RESERVE:
            self.reserve.write_bytes(b"\0" * RESERVE)

    def say(self, kind: str, **fields: Any) -> None:
        """Writes one event. Raises pydantic's ValidationError for a shape outside the closed union: that is our bug."""
        event = {"seq": self.seq + 1, "attempt": self.attempt, "time": round(time.time(), 3), "kind": kind}
        finite_only(fields)
        event |= {key: printable(value) for key, value in fields.items() if value is not None}
        event = {
            key: shorten(value, 2_000) if key in ("text", "advice") else value
            for key, value in event.items()
            if value is not None
        }
        line = json.dumps(event, ensure_ascii=False, allow_nan=False)
        if kind == "sample" and len(line.encode()) > events.LONGEST:
            event = self.to_file(event)
            line = json.dumps(event, ensure_ascii=False)
        events.EVENT.validate_python(event)
        assert len(line.encode()) <= events.LONGEST, f"an event of kind {kind} is longer than a line may be"
        self.append(line.encode() + b"\n", kind)
        self.seq += 1
        with contextlib.suppress(OSError):  # a border: the log may lie on the same full disk, or its reader be gone
            print(events.PREFIX + line, flush=True)

    def to_file(self, event: dict[str, Any]) -> dict[str, Any]:
        """Long completions go to samples/; the event names the file."""
        self.samples.mkdir(exist_ok=True)
        name = f"samples/{event['seq']:06d}.json"
        (self.path.parent / name).write_text(json.dumps(event.pop("rows"), ensure_ascii=False), encoding="utf-8")
        return event | {"file": name}

    def append(self, line: bytes, kind: str) -> None:
        """One write, undone when the disk took only a part of it; on a full disk the reserve is given up for the last word alone."""
        try:
            write_whole(self.path, line, kind in SYNCED)
        except OSError as error:
            if error.errno not in (errno.ENOSPC, errno.EDQUOT) or kind not in events.LAST:
                raise
            self.reserve.unlink(missing_ok=True)
            write_whole(self.path, line, kind in SYNCED)


def write_whole(path: Path, line: bytes, sync: bool) -> None:
    with path.open("ab", buffering=0) as file:
        start = file.seek(0, os.SEEK_END)
        try:
            if file.write(line) != len(line):
                raise OSError(errno.ENOSPC, "No space left on device")
            if sync:
                os.fsync(file.fileno())
        except OSError:
            file.truncate(start)  # no torn line stays behind
            raise


def repair(path: Path) -> None:
    """Cuts a last line without its newline: a kill fell into the middle of writing it, and no reader has seen it."""
    if not path.exists():
        return
    with path.open("r+b") as file:
        data = file.read()
        file.truncate(data.rfind(b"\n") + 1)


def finite_only(event: dict[str, Any]) -> None:
    """Not-finite metrics become null, and their names are listed: JSON has no NaN, and hiding it would be a lie."""
    metrics = event.get("metrics")
    if metrics is None:
        return
    bad = [name for name, value in metrics.items() if value is None or not math.isfinite(value)]
    if bad:
        event["metrics"] = metrics | dict.fromkeys(bad)
        event["nonfinite"] = bad


def printable(value: Any) -> Any:
    """The value as strict JSON in UTF-8 can say it: no NaN or infinity and no half of a character."""
    if isinstance(value, str):
        return value.encode("utf-8", "replace").decode()
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {key: printable(item) for key, item in value.items()}
    return [printable(item) for item in value] if isinstance(value, list) else value


def silence_stdout() -> None:
    """Libraries print to stdout as they like; a child that answers on stdout gives them stderr instead."""
    sys.stdout.flush()
    os.dup2(2, 1)
