"""Events of a run, one JSON line each in events.jsonl: their types, and reading them. Only the engine writes events."""

from __future__ import annotations

import io
import itertools
import json
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, Literal, TypeVar

import msgspec

if TYPE_CHECKING:
    from app.core.json_types import JsonObject
else:
    JsonObject = dict  # msgspec evaluates the annotations of events, and does not know pydantic's recursive JSON type

LOG_PREFIX = "@tunesmith "  # marks an event line in the log
MAX_LINE_BYTES = 16_000  # longer samples go to a file in samples/
BATCH_BYTES = 64_000  # bytes that are parsed at once; larger batches no longer fit the CPU cache

Metrics = dict[str, int | float | None]  # {`group/name`: value}, None where it was not finite
EngineState = Literal["preparing", "loading", "training", "evaluating", "saving", "stopping"]
EndReason = Literal["finished", "stopped", "early", "budget"]
COMPLETED: tuple[EndReason, ...] = ("finished", "early")  # a run that ended so did what was planned


class BaseEvent(msgspec.Struct, frozen=True, gc=False, omit_defaults=True, tag_field="kind"):
    """Fields of all events. seq: 1, 2, 3 … over all attempts. attempt: number of the start. time: Unix seconds.

    Fields that are None are not written. Fields of a line that its class does not have are ignored. Events hold JSON
    data, which has no reference cycles, so the garbage collector need not look at them.
    """

    seq: int
    attempt: int
    time: float


class StateEvent(BaseEvent, frozen=True, tag="state", kw_only=True):
    """What the engine does from now on."""

    state: EngineState


class ResumedEvent(BaseEvent, frozen=True, tag="resumed", kw_only=True):
    """A new attempt goes on from the checkpoint of this step; later steps of earlier attempts no longer count."""

    from_step: int


class StepEvent(BaseEvent, frozen=True, tag="step", kw_only=True):
    """Metrics of one optimizer step. of: steps in total. nonfinite: names of metrics that were NaN or infinite."""

    step: int
    of: int
    epoch: float | None = None
    seconds_left: float | None = None
    metrics: Metrics
    nonfinite: list[str] | None = None


class EvalEvent(BaseEvent, frozen=True, tag="eval", kw_only=True):
    """Metrics of one evaluation. set: which rows, such as held-out."""

    step: int
    set: str
    metrics: Metrics
    nonfinite: list[str] | None = None


class SampleEvent(BaseEvent, frozen=True, tag="sample", kw_only=True):
    """Completions generated at a step: in `rows`, or in `file` when they are long."""

    step: int
    rows: list[JsonObject] | None = None
    file: str | None = None


class ProgressEvent(BaseEvent, frozen=True, tag="progress", kw_only=True):
    """Progress of something else than steps, such as loading or waiting in the device queue."""

    what: str
    done: int
    of: int


class NoteEvent(BaseEvent, frozen=True, tag="note", kw_only=True):
    """A sentence for the person. control: id of the command it answers."""

    level: Literal["info", "careful", "wrong"]
    text: str
    control: str | None = None


class SavedEvent(BaseEvent, frozen=True, tag="saved", kw_only=True):
    """A checkpoint or the adapter is complete on disk."""

    step: int
    what: Literal["checkpoint", "adapter"]
    path: str


class FailedEvent(BaseEvent, frozen=True, tag="failed", kw_only=True):
    """Final event: the attempt failed. Fields as in Problem."""

    reason: str
    text: str
    advice: str
    step: int | None = None


class DoneEvent(BaseEvent, frozen=True, tag="done", kw_only=True):
    """Final event: the attempt ended and saved. verdict: the result in one sentence."""

    why: EndReason
    adapter: str | None = None
    verdict: str | None = None


MetricEvent = StepEvent | EvalEvent
FinalEvent = FailedEvent | DoneEvent  # the last event of an attempt is one of these
Event = MetricEvent | FinalEvent | StateEvent | ResumedEvent | SampleEvent | ProgressEvent | NoteEvent | SavedEvent
EventT = TypeVar("EventT", bound=BaseEvent)

_DECODER: msgspec.json.Decoder[Event] = msgspec.json.Decoder(Event)


# -- lines --------------------------------------------------------------------------------------------------------


def parse_line(line: str | bytes) -> Event | None:
    """The event in a line of the file or in a prefixed line of the log.

    None for any other line: a partial or damaged one, one of an unknown kind, or one that lacks a field.
    """
    if isinstance(line, bytes):
        line = line.decode("utf-8", errors="replace")
    line = line.removeprefix(LOG_PREFIX)
    if not line.startswith("{") or not line.endswith("\n"):
        return None
    try:
        return _decode(line)
    except (ValueError, RecursionError):  # boundary: another process is writing, or a log line only looks like an event
        return None


def _decode(line: str) -> Event:
    """The event in a line. Raises ValueError or RecursionError where there is none."""
    try:
        return _DECODER.decode(line)
    except msgspec.DecodeError:  # perhaps it has NaN or half a surrogate pair, which only Python's own parser takes
        return msgspec.convert(json.loads(line), Event)


def parse_lines(lines: bytes) -> Sequence[Event | None]:
    """`parse_line` for each line of complete lines; several times as fast when every line is an event."""
    try:
        parsed_events = _DECODER.decode_lines(lines)
        if len(parsed_events) == lines.count(b"\n"):
            return parsed_events
    except (ValueError, RecursionError):  # boundary: a line is no event, or has NaN
        pass
    return [parse_line(line) for line in io.BytesIO(lines)]


# -- files --------------------------------------------------------------------------------------------------------


def read_events(path: Path, after_seq: int = 0) -> list[Event]:
    """All complete events with a seq above `after`, each once, in order. Empty when there is no file."""
    if not path.exists():
        return []
    with path.open("rb") as file:
        return list(deduplicate(iter_file_events(file), after_seq))


def iter_file_events(file: BinaryIO) -> Iterator[Event | None]:
    """`parse_line` for each complete line from the current position of an open file."""
    return itertools.chain.from_iterable(map(parse_lines, read_line_batches(file)))


def read_line_batches(file: BinaryIO) -> Iterator[bytes]:
    """Complete lines from the current position of an open file, about BATCH_BYTES at a time.

    A last partial line is not read.
    """
    partial_line = b""
    while not partial_line and (content := file.read(BATCH_BYTES) + file.readline()):
        end = content.rfind(b"\n") + 1
        partial_line = content[end:]
        if end:
            yield content[:end]


def last_event(path: Path, tail_bytes: int = 2 * (MAX_LINE_BYTES + 1)) -> Event | None:
    """The last complete event, read from the end of the file, so that it is quick for long runs too.

    tail_bytes: that are read at first; more where they hold no event, as after a damaged line.
    """
    if not path.exists():
        return None
    with path.open("rb") as file:
        file_size = file.seek(0, 2)
        file.seek(max(0, file_size - tail_bytes))
        lines = file.read().split(b"\n")
    event = next((event for line in reversed(lines[:-1]) if (event := parse_line(line + b"\n"))), None)
    return event if event or tail_bytes >= file_size else last_event(path, 8 * tail_bytes)


# -- sequences of events ------------------------------------------------------------------------------------------


def deduplicate(events: Iterable[Event | None], last_seq: int = 0) -> Iterator[Event]:
    """Drops None and repeated events, so that reading again from anywhere gives no gap and no duplicate."""
    for event in events:
        if event and event.seq > last_seq:
            last_seq = event.seq
            yield event


def drop_rewound(events: Iterable[Event]) -> list[Event]:
    """The events that count: at a `resumed` event, earlier events past its step are dropped, except failures."""
    current_events: list[Event] = []
    for event in events:
        if isinstance(event, ResumedEvent):
            current_events = [
                earlier_event for earlier_event in current_events if not _is_rewound(earlier_event, event.from_step)
            ]
        current_events.append(event)
    return current_events


def _is_rewound(event: Event, from_step: int) -> bool:
    """Whether an event no longer counts once a later attempt goes on from this step."""
    return isinstance(event, StepEvent | EvalEvent | SampleEvent | SavedEvent) and event.step > from_step


def of_type(events: Iterable[Event], event_class: type[EventT]) -> list[EventT]:
    """The events of one class, in order."""
    return [event for event in events if isinstance(event, event_class)]


def saved_result_step(events: Sequence[Event]) -> int | None:
    """The step of the result that the engine left, by its events; None before there is one."""
    saved_results = [event for event in of_type(events, SavedEvent) if event.what == "adapter"]
    return saved_results[-1].step if saved_results else None


def last_of_type(events: Sequence[Event], event_class: type[EventT]) -> EventT | None:
    """The last event of this class, or None."""
    return next((event for event in reversed(events) if isinstance(event, event_class)), None)
