"""Emitter: writes a run's events, each exactly once, also after a crash and on a full disk."""

from __future__ import annotations

import contextlib
import errno
import math
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Concatenate, ParamSpec

import msgspec

from app.core.json_files import sync_to_disk
from app.core.problems import shorten
from app.engine.rank import is_main_process
from app.runs.events import (
    LOG_PREFIX,
    MAX_LINE_BYTES,
    DoneEvent,
    EvalEvent,
    Event,
    FailedEvent,
    NoteEvent,
    SampleEvent,
    SavedEvent,
    StateEvent,
    StepEvent,
    of_type,
    read_events,
)

if TYPE_CHECKING:
    from app.core.json_types import JsonValue

RESERVE_BYTES = 64 * 1024  # held by a file, so that a full disk still has room for the last event
_MAX_TEXT_CHARACTERS = 2_000  # of an event's text and its advice

EventFields = ParamSpec("EventFields")


class Emitter:
    """Appends to events.jsonl and prints the same lines to stdout with the prefix.

    Opening it repairs a torn last line, and continues the numbering after the last complete event, as the next attempt.
    """

    def __init__(self, folder: Path):
        self.path = folder / "events.jsonl"
        self.reserve_file = folder / ".reserve"
        self.samples = folder / "samples"
        if is_main_process():
            self._prepare_files()
        earlier = read_events(self.path)
        self.seq = earlier[-1].seq if earlier else 0
        self.attempt = earlier[-1].attempt + 1 if earlier else 1
        self.answered_requests = {event.control for event in of_type(earlier, NoteEvent)}

    def _prepare_files(self) -> None:
        """Repairs a torn last line, and makes the reserve for a full disk."""
        _remove_torn_line(self.path)
        if not self.reserve_file.exists() or self.reserve_file.stat().st_size < RESERVE_BYTES:
            self.reserve_file.write_bytes(b"\0" * RESERVE_BYTES)

    def emit(
        self,
        event_class: Callable[Concatenate[int, int, float, EventFields], Event],
        *args: EventFields.args,
        **fields: EventFields.kwargs,
    ) -> None:
        """Writes one event of this class, in the one process of a training that writes.

        Raises TypeError for fields that the class does not have or lacks, and msgspec.ValidationError for values of
        other types than it declares: that is our bug.
        """
        if not is_main_process():
            return
        event = _to_strict_event(event_class(self.seq + 1, self.attempt, round(time.time(), 3), *args, **fields))
        line = msgspec.json.encode(event)
        if isinstance(event, SampleEvent) and len(line) > MAX_LINE_BYTES:
            event = self._move_rows_to_file(event)
            line = msgspec.json.encode(event)
        assert len(line) <= MAX_LINE_BYTES, f"a {type(event).__name__} is longer than a line may be"
        self._append(line + b"\n", event)
        self.seq += 1
        with contextlib.suppress(OSError):  # boundary: the log may lie on the same full disk, or its reader be gone
            print(LOG_PREFIX + line.decode(), flush=True)

    def _move_rows_to_file(self, event: SampleEvent) -> SampleEvent:
        """The event with long completions moved to a file in samples/, which it names."""
        self.samples.mkdir(exist_ok=True)
        name = f"samples/{event.seq:06d}.json"
        (self.path.parent / name).write_bytes(msgspec.json.encode(event.rows))
        sync_to_disk(self.path.parent / name)
        return msgspec.structs.replace(event, rows=None, file=name)

    def _append(self, line: bytes, event: Event) -> None:
        """Writes the line in one piece or not at all. On a full disk the reserve is given up, for the last event of a
        run only."""
        must_reach_disk = isinstance(event, StateEvent | SavedEvent | FailedEvent | DoneEvent)
        try:
            _append_line(self.path, line, must_reach_disk)
        except OSError as error:
            if error.errno not in (errno.ENOSPC, errno.EDQUOT) or not isinstance(event, FailedEvent | DoneEvent):
                raise
            self.reserve_file.unlink(missing_ok=True)
            _append_line(self.path, line, must_reach_disk)


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


def _to_strict_event(event: Event) -> Event:
    """The event as strict JSON can express it, with short texts, validated.

    Metrics that are not finite become null, and their names are listed: JSON has no NaN, and hiding it would be a lie.
    """
    fields = {name: _to_strict_json(field) for name, field in msgspec.structs.asdict(event).items()}
    if isinstance(event, StepEvent | EvalEvent):
        fields["nonfinite"] = [
            name for name, metric in event.metrics.items() if metric is None or not math.isfinite(metric)
        ] or None
    for name in ("text", "advice"):
        text = fields.get(name)
        if isinstance(text, str):
            fields[name] = shorten(text, _MAX_TEXT_CHARACTERS)
    strict_event: Event = msgspec.convert(fields | {"kind": event.__struct_config__.tag}, Event)
    return strict_event


def _to_strict_json(value: JsonValue) -> JsonValue:
    """The value as strict JSON in UTF-8 can express it: without NaN, infinity and half surrogate pairs.

    Numbers and texts of NumPy, which are subclasses of Python's, become Python's own.
    """
    if isinstance(value, str):
        return value.encode("utf-8", "replace").decode()
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else None
    if isinstance(value, dict):
        return {key: _to_strict_json(entry) for key, entry in value.items()}
    return [_to_strict_json(entry) for entry in value] if isinstance(value, list | tuple) else value
