"""Events of a run, one JSON line each in events.jsonl: their types, and reading them. Only the engine writes events."""

from __future__ import annotations

import io
import itertools
import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Annotated, Any, BinaryIO, Literal

import orjson
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter

LOG_PREFIX = "@tunesmith "  # marks an event line in the log
MAX_LINE_BYTES = 16_000  # longer samples go to a file in samples/
BATCH_BYTES = 64_000  # bytes that are parsed at once; larger batches no longer fit the CPU cache

Metrics = dict[str, float | None]


class BaseEvent(BaseModel):
    """Fields of all events. seq: 1, 2, 3 … over all attempts. attempt: number of the start. time: Unix seconds."""

    model_config = ConfigDict(extra="forbid")
    seq: int
    attempt: int
    time: float


class StateEvent(BaseEvent):
    """What the engine does from now on."""

    kind: Literal["state"]
    state: Literal["preparing", "loading", "training", "evaluating", "saving", "stopping"]


class ResumedEvent(BaseEvent):
    """A new attempt goes on from the checkpoint of this step; later steps of earlier attempts no longer count."""

    kind: Literal["resumed"]
    from_step: int


class StepEvent(BaseEvent):
    """Metrics of one optimizer step. of: steps in total. nonfinite: names of metrics that were NaN or infinite."""

    kind: Literal["step"]
    step: int
    of: int
    epoch: float | None = None
    seconds_left: float | None = None
    metrics: Metrics
    nonfinite: list[str] | None = None


class EvalEvent(BaseEvent):
    """Metrics of one evaluation. set: which rows, such as held-out."""

    kind: Literal["eval"]
    step: int
    set: str
    metrics: Metrics
    nonfinite: list[str] | None = None


class SampleEvent(BaseEvent):
    """Completions generated at a step: in `rows`, or in `file` when they are long."""

    kind: Literal["sample"]
    step: int
    rows: list[dict[str, Any]] | None = None
    file: str | None = None


class ProgressEvent(BaseEvent):
    """Progress of something else than steps, such as loading or waiting in the device queue."""

    kind: Literal["progress"]
    what: str
    done: int
    of: int


class NoteEvent(BaseEvent):
    """A sentence for the person. control: id of the command it answers."""

    kind: Literal["note"]
    level: Literal["info", "careful", "wrong"]
    text: str
    control: str | None = None


class SavedEvent(BaseEvent):
    """A checkpoint or the adapter is complete on disk."""

    kind: Literal["saved"]
    step: int
    what: Literal["checkpoint", "adapter"]
    path: str


class FailedEvent(BaseEvent):
    """Final event: the attempt failed. Fields as in Problem."""

    kind: Literal["failed"]
    reason: str
    text: str
    advice: str
    step: int | None = None


class DoneEvent(BaseEvent):
    """Final event: the attempt ended and saved. verdict: the result in one sentence."""

    kind: Literal["done"]
    why: Literal["finished", "stopped", "early", "budget"]
    adapter: str | None = None
    verdict: str | None = None


Event = Annotated[
    StateEvent
    | ResumedEvent
    | StepEvent
    | EvalEvent
    | SampleEvent
    | ProgressEvent
    | NoteEvent
    | SavedEvent
    | FailedEvent
    | DoneEvent,
    Field(discriminator="kind"),
]
EVENT_ADAPTER = TypeAdapter(Event)
FINAL_KINDS = ("failed", "done")  # the last event of an attempt has one of these kinds


def parse_line(line: str | bytes) -> dict[str, Any] | None:
    """The event in a line of the file or in a prefixed line of the log; None for any other or partial line."""
    if isinstance(line, bytes):
        line = line.decode("utf-8", errors="replace")
    line = line.removeprefix(LOG_PREFIX)
    if not line.startswith("{") or not line.endswith("\n"):
        return None
    try:
        event = json.loads(line)
    except (ValueError, RecursionError):  # boundary: another process is writing, or a log line only looks like an event
        return None
    return event if _is_event(event) else None


def parse_lines(data: bytes) -> list[dict[str, Any] | None]:
    """`parse_line` for each line of complete lines; several times as fast when every line is valid JSON."""
    try:
        parsed_events = orjson.loads(b"[" + data[:-1].replace(b"\n", b",") + b"]")
        if len(parsed_events) == data.count(b"\n"):
            return [event if _is_event(event) else None for event in parsed_events]
    except orjson.JSONDecodeError:  # boundary: a line is damaged, or has NaN, which only Python's own parser takes
        pass
    return [parse_line(line) for line in io.BytesIO(data)]


def _is_event(candidate: Any) -> bool:
    return isinstance(candidate, dict) and type(candidate.get("seq")) is int and isinstance(candidate.get("kind"), str)


def read_events(path: Path, after_seq: int = 0) -> list[dict[str, Any]]:
    """All complete events with a seq above `after`, each once, in order. Empty when there is no file."""
    if not path.exists():
        return []
    with path.open("rb") as file:
        return list(deduplicate(iter_file_events(file), after_seq))


def iter_file_events(file: BinaryIO) -> Iterator[dict[str, Any] | None]:
    """`parse_line` for each complete line from the current position of an open file."""
    return itertools.chain.from_iterable(map(parse_lines, read_line_batches(file)))


def read_line_batches(file: BinaryIO) -> Iterator[bytes]:
    """Complete lines from the current position of an open file, about BATCH_BYTES at a time.

    A last partial line is not read.
    """
    partial_line = b""
    while not partial_line and (data := file.read(BATCH_BYTES) + file.readline()):
        end = data.rfind(b"\n") + 1
        partial_line = data[end:]
        if end:
            yield data[:end]


def deduplicate(events: Iterable[dict[str, Any] | None], last_seq: int = 0) -> Iterator[dict[str, Any]]:
    """Drops None and repeated events, so that reading again from anywhere gives no gap and no duplicate."""
    for event in events:
        if event and event["seq"] > last_seq:
            last_seq = event["seq"]
            yield event


def drop_rewound(events: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """The events that count: at a `resumed` event, earlier events past its step are dropped, except failures."""
    current_events: list[dict[str, Any]] = []
    for event in events:
        if event["kind"] == "resumed":
            current_events = [
                earlier_event
                for earlier_event in current_events
                if (earlier_event.get("step") or 0) <= event["from_step"] or earlier_event["kind"] == "failed"
            ]
        current_events.append(event)
    return current_events


def last_event(path: Path, tail_bytes: int = 2 * (MAX_LINE_BYTES + 1)) -> dict[str, Any] | None:
    """The last complete event, read from the end of the file, so that it is quick for long runs too."""
    if not path.exists():
        return None
    with path.open("rb") as file:
        file_size = file.seek(0, 2)
        file.seek(max(0, file_size - tail_bytes))
        lines = file.read().splitlines(keepends=True)
    return next((event for event in map(parse_line, reversed(lines)) if event), None)
