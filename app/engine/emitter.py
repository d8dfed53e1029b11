"""Emitter: writes a run's events, each exactly once, also after a crash and on a full disk."""

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

RESERVE_BYTES = 64 * 1024  # held by a file, so that a full disk still has room for the last event
_FSYNCED_KINDS = ("state", "saved", "failed", "done")
_MAX_TEXT_CHARACTERS = 2_000  # of an event's text and its advice


class Emitter:
    """Appends to events.jsonl and prints the same lines to stdout with the prefix.

    Opening it repairs a torn last line, and continues the numbering after the last complete event, as the next attempt.
    """

    def __init__(self, folder: Path):
        self.path = folder / "events.jsonl"
        self.reserve_file = folder / ".reserve"
        self.samples = folder / "samples"
        _remove_torn_line(self.path)
        earlier = events.read_events(self.path)
        self.seq = earlier[-1]["seq"] if earlier else 0
        self.attempt = earlier[-1]["attempt"] + 1 if earlier else 1
        self.answered_requests = {event.get("control") for event in earlier if event["kind"] == "note"}
        if not self.reserve_file.exists() or self.reserve_file.stat().st_size < RESERVE_BYTES:
            self.reserve_file.write_bytes(b"\0" * RESERVE_BYTES)

    def emit(self, kind: str, **fields: Any) -> None:
        """Writes one event. Raises pydantic's ValidationError for a shape outside the closed union: that is our bug."""
        event = self._build_event(kind, fields)
        line = json.dumps(event, ensure_ascii=False, allow_nan=False)
        if kind == "sample" and len(line.encode()) > events.MAX_LINE_BYTES:
            event = self._move_rows_to_file(event)
            line = json.dumps(event, ensure_ascii=False)
        events.EVENT_ADAPTER.validate_python(event)
        assert len(line.encode()) <= events.MAX_LINE_BYTES, f"an event of kind {kind} is longer than a line may be"
        self._append(line.encode() + b"\n", kind)
        self.seq += 1
        with contextlib.suppress(OSError):  # boundary: the log may lie on the same full disk, or its reader be gone
            print(events.LOG_PREFIX + line, flush=True)

    def _build_event(self, kind: str, fields: dict[str, Any]) -> dict[str, Any]:
        """The event as strict JSON, without fields that are None."""
        _replace_nonfinite_metrics(fields)
        event = {"seq": self.seq + 1, "attempt": self.attempt, "time": round(time.time(), 3), "kind": kind}
        for name, field in fields.items():
            json_field = None if field is None else _to_strict_json(field)
            if json_field is not None:
                is_text = name in ("text", "advice")
                event[name] = shorten(json_field, _MAX_TEXT_CHARACTERS) if is_text else json_field
        return event

    def _move_rows_to_file(self, event: dict[str, Any]) -> dict[str, Any]:
        """The event with long completions moved to a file in samples/, which it names."""
        self.samples.mkdir(exist_ok=True)
        name = f"samples/{event['seq']:06d}.json"
        (self.path.parent / name).write_text(json.dumps(event.pop("rows"), ensure_ascii=False), encoding="utf-8")
        return event | {"file": name}

    def _append(self, line: bytes, kind: str) -> None:
        """Writes the line in one piece or not at all. On a full disk the reserve is given up, for the last event of a
        run only."""
        try:
            _append_line(self.path, line, kind in _FSYNCED_KINDS)
        except OSError as error:
            if error.errno not in (errno.ENOSPC, errno.EDQUOT) or kind not in events.FINAL_KINDS:
                raise
            self.reserve_file.unlink(missing_ok=True)
            _append_line(self.path, line, kind in _FSYNCED_KINDS)


def _append_line(path: Path, line: bytes, fsync: bool) -> None:
    """One write, undone when the disk took only a part of it. Raises OSError."""
    with path.open("ab", buffering=0) as file:
        start = file.seek(0, os.SEEK_END)
        try:
            if file.write(line) != len(line):
                raise OSError(errno.ENOSPC, "No space left on device")
            if fsync:
                os.fsync(file.fileno())
        except OSError:
            file.truncate(start)  # leaves no torn line behind
            raise


def _remove_torn_line(path: Path) -> None:
    """Cuts a last line without its newline: the process was killed while writing it, and no reader has used it."""
    if not path.exists():
        return
    with path.open("r+b") as file:
        content = file.read()
        file.truncate(content.rfind(b"\n") + 1)


def _replace_nonfinite_metrics(fields: dict[str, Any]) -> None:
    """Metrics that are not finite become null, and their names are listed: JSON has no NaN, and hiding it would be a
    lie."""
    metrics = fields.get("metrics")
    if metrics is None:
        return
    nonfinite = [name for name, metric in metrics.items() if metric is None or not math.isfinite(metric)]
    if nonfinite:
        fields["metrics"] = metrics | dict.fromkeys(nonfinite)
        fields["nonfinite"] = nonfinite


def _to_strict_json(value: Any) -> Any:
    """The value as strict JSON in UTF-8 can express it: without NaN, infinity and half surrogate pairs."""
    if isinstance(value, str):
        return value.encode("utf-8", "replace").decode()
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {key: _to_strict_json(entry) for key, entry in value.items()}
    return [_to_strict_json(entry) for entry in value] if isinstance(value, list) else value


def redirect_stdout_to_stderr() -> None:
    """For a child process that answers on its stdout: libraries that print to stdout print to stderr instead.

    Duplicate stdout before, to keep a way to answer.
    """
    sys.stdout.flush()
    os.dup2(2, 1)
