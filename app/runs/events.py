"""Events: a run's story, one JSON line each. Only the engine writes them; everything else reads."""

from __future__ import annotations

import io
import itertools
import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Annotated, Any, BinaryIO, Literal

import orjson
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter

PREFIX = "@tunesmith "  # marks an event among other lines of a log
LONGEST = 16_000  # bytes of one line; long completions go to samples/
BATCH = 64_000  # bytes that are parsed together: more would no longer fit the processor's own memory

Metrics = dict[str, float | None]


class Base(BaseModel):
    """seq counts 1, 2, 3 … over all attempts; attempt counts starts; time is Unix seconds."""

    model_config = ConfigDict(extra="forbid")
    seq: int
    attempt: int
    time: float


class State(Base):
    kind: Literal["state"]
    state: Literal["preparing", "loading", "training", "evaluating", "saving", "stopping"]


class Resumed(Base):
    kind: Literal["resumed"]
    from_step: int


class Step(Base):
    kind: Literal["step"]
    step: int
    of: int
    epoch: float | None = None
    seconds_left: float | None = None
    metrics: Metrics
    nonfinite: list[str] | None = None


class Eval(Base):
    kind: Literal["eval"]
    step: int
    set: str
    metrics: Metrics
    nonfinite: list[str] | None = None


class Sample(Base):
    kind: Literal["sample"]
    step: int
    rows: list[dict[str, Any]] | None = None
    file: str | None = None


class Progress(Base):
    kind: Literal["progress"]
    what: str
    done: int
    of: int


class Note(Base):
    kind: Literal["note"]
    level: Literal["info", "careful", "wrong"]
    text: str
    control: str | None = None


class Saved(Base):
    kind: Literal["saved"]
    step: int
    what: Literal["checkpoint", "adapter"]
    path: str


class Failed(Base):
    kind: Literal["failed"]
    reason: str
    text: str
    advice: str
    step: int | None = None


class Done(Base):
    kind: Literal["done"]
    why: Literal["finished", "stopped", "early", "budget"]
    adapter: str | None = None
    verdict: str | None = None


Event = Annotated[
    State | Resumed | Step | Eval | Sample | Progress | Note | Saved | Failed | Done, Field(discriminator="kind")
]
EVENT = TypeAdapter(Event)
LAST = ("failed", "done")  # an attempt's last word


def parse(line: str | bytes) -> dict[str, Any] | None:
    """One event of a file's line or of a log's prefixed line; None for anything else, such as a torn line."""
    if isinstance(line, bytes):
        line = line.decode("utf-8", errors="replace")
    line = line.removeprefix(PREFIX)
    if not line.startswith("{") or not line.endswith("\n"):
        return None
    try:
        event = json.loads(line)
    except (
        ValueError,
        RecursionError,
    ):  # a border: another process may be writing, or a log line may merely look like ours
        return None
    return event if is_event(event) else None


def parse_all(data: bytes) -> list[dict[str, Any] | None]:
    """`parse` of each line of a file's part that ends with a line; several times as fast where every line is JSON."""
    try:
        found = orjson.loads(b"[" + data[:-1].replace(b"\n", b",") + b"]")
        if len(found) == data.count(b"\n"):
            return [event if is_event(event) else None for event in found]
    except orjson.JSONDecodeError:  # a border: some line is torn, or of the kind that only Python's own parser takes
        pass
    return [parse(line) for line in io.BytesIO(data)]


def is_event(found: Any) -> bool:
    return isinstance(found, dict) and type(found.get("seq")) is int and isinstance(found.get("kind"), str)


def read(path: Path, after: int = 0) -> list[dict[str, Any]]:
    """All whole events with a seq above `after`, each once, in order. An absent file is an empty story."""
    if not path.exists():
        return []
    with path.open("rb") as file:
        return list(once(each(file), after))


def each(file: BinaryIO) -> Iterator[dict[str, Any] | None]:
    """`parse` of each whole line that follows in an open file."""
    return itertools.chain.from_iterable(map(parse_all, batches(file)))


def batches(file: BinaryIO) -> Iterator[bytes]:
    """What follows in an open file, some whole lines at a time; a line that is still being written waits for its end."""
    torn = b""
    while not torn and (data := file.read(BATCH) + file.readline()):
        end = data.rfind(b"\n") + 1
        torn = data[end:]
        if end:
            yield data[:end]


def once(events: Iterable[dict[str, Any] | None], after: int = 0) -> Iterator[dict[str, Any]]:
    """Drops what is not an event and what was seen before: reconnecting anywhere gives no gap and no duplicate."""
    for event in events:
        if event and event["seq"] > after:
            after = event["seq"]
            yield event


def current(events: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """The story as it counts: after a `resumed`, what earlier attempts did past that step is dropped."""
    story: list[dict[str, Any]] = []
    for event in events:
        if event["kind"] == "resumed":
            story = [old for old in story if (old.get("step") or 0) <= event["from_step"] or old["kind"] == "failed"]
        story.append(event)
    return story


def last(path: Path, tail: int = 2 * (LONGEST + 1)) -> dict[str, Any] | None:
    """The last whole event, read from the end of the file: opening a long run stays quick."""
    if not path.exists():
        return None
    with path.open("rb") as file:
        size = file.seek(0, 2)
        file.seek(max(0, size - tail))
        lines = file.read().splitlines(keepends=True)
    return next((event for event in map(parse, reversed(lines)) if event), None)
