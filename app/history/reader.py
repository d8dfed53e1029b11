"""Reading: one run's story in memory, read once as it grows, and kept in little so that a long one need not be read again."""

from __future__ import annotations

import contextlib
import itertools
import math
import operator
from collections import deque
from io import BytesIO
from typing import Any

from app.core import cache
from app.history import metric_labels, summary
from app.history.downsampling import Deep, Folded
from app.history.series import Curves
from app.runs import events
from app.runs.store import STORIES, Run

RECENT = 1_000  # events kept whole: who was away for longer gets the run as a whole again
NOTES = 20
DRAWN = ("train/loss", "train/learning_rate", "train/grad_norm", "reward/mean", "system/tokens_per_second",
         "system/memory", "system/gpu_memory")  # fmt: skip
LARGE_FILE_BYTES = (
    32_000_000  # bytes; reading more would take longer than a person waits for a page, where others work too
)
WORTH = 8_000_000  # bytes; reading less again is quick
PLACES, LOOK = 200, 8_000  # of a long story at first: how many, and bytes of each

Event = dict[str, Any]


class Reading:
    """What a story has told up to `offset` of its file and the event `seq`.

    behind: {seq: step}, for each time the run went back further than curves can be cut: what events before that seq told
    past that step is left out from the start.
    """

    def __init__(self, run: Run, behind: dict[int, int] | None = None, curves: Curves | None = None):
        self.run, self.behind = run, behind or {}
        self.offset = self.kept = self.seq = 0
        self.curves = curves or Curves(Folded)
        self.recent: deque[Event] = deque(maxlen=RECENT)
        self.samples: list[Event] = []  # seq, step, and where in the file its line stands
        self.notes: deque[Event] = deque(maxlen=NOTES)
        self.last: dict[str, Event] = {}  # the latest event of each kind
        self.partly = False  # told from places of the story

    # -- reading --------------------------------------------------------------------------------------------------

    @property
    def unread(self) -> int:
        """Bytes; a line still being written counts."""
        return self.run.events.stat().st_size - self.offset if self.run.events.exists() else 0

    def read(self) -> None:
        """Takes all whole lines that follow. Raises Deep where the run goes back too far: `again` reads it then."""
        if self.unread <= 0:
            return
        with self.run.events.open("rb") as file:
            file.seek(self.offset)
            for data in events.batches(file):
                self.take(data)
                self.offset += len(data)

    def again(self, deep: Deep) -> Reading:
        """A new one, which knows from the start how far the run went back, as now all of the story says."""
        return Reading(self.run, self.behind | rewinds(self.run) | {self.seq + 1: deep.last})

    def take(self, data: bytes) -> None:
        """Events of whole lines; many steps in a row are taken at once."""
        fresh = events.once(self.placed(data), self.seq)
        for kind, found in itertools.groupby(fresh, operator.itemgetter("kind")):
            if kind == "step" and not self.behind:
                self.steps([*found])
            else:
                for event in found:
                    self.event(event)

    def placed(self, data: bytes) -> list[Event | None]:
        """Events of the lines; samples know where in the file theirs begins."""
        found = events.parse_all(data)
        if b'"sample"' in data:
            places = itertools.accumulate(map(len, BytesIO(data)), initial=self.offset)
            for event, at in zip(found, places, strict=False):
                if event and event["kind"] == "sample":
                    event["at"] = at
        return found

    def steps(self, found: list[Event]) -> None:
        for names, same in itertools.groupby(found, lambda event: (*event["metrics"],)):
            row = [*same]
            steps = [event["step"] for event in row]
            if any(map(operator.ge, steps, steps[1:])):  # told in another order: one by one
                for event in row:
                    self.event(event)
                continue
            told = [event["metrics"] for event in row]
            self.curves.extend(steps, {name: [metrics[name] for metrics in told] for name in names if is_drawn(name)})
            self.recent.extend(row)
            self.seq, self.last["step"] = row[-1]["seq"], row[-1]

    def event(self, event: Event) -> None:
        kind, seq = event["kind"], event["seq"]
        if kind in ("step", "eval", "resumed") and event.get("step", 0) <= self.limit(seq):
            self.curves.add(drawn(event))
        if kind == "sample":
            event = {name: event[name] for name in ("kind", "seq", "step", "at")}
            self.samples.append(event)
        if kind == "resumed":
            self.samples = [one for one in self.samples if one["step"] <= event["from_step"]]
        if kind == "note" and event["level"] != "info":
            self.notes.append(event)
        self.recent.append(event)
        self.seq, self.last[kind] = seq, event

    def limit(self, seq: int) -> float:
        """The last step that still counts of what was told with this seq."""
        return min((step for at, step in self.behind.items() if seq < at), default=math.inf)

    # -- keeping --------------------------------------------------------------------------------------------------

    def keep(self) -> None:
        """Keeps it for the next start of the page, once enough is new."""
        if self.offset - self.kept < WORTH:
            return
        self.kept = self.offset
        with contextlib.suppress(FileNotFoundError):  # a border: the run may just be deleted
            cache.put(STORIES, self.run.id, self.plain())
        for name in cache.names(STORIES):  # folders may be removed by hand
            if not self.run.path.with_name(name).is_dir():
                cache.drop(STORIES, name)

    def plain(self) -> dict[str, Any]:
        """All that it knows, but for the recent events: who comes back after the page's start gets the whole."""
        told = {name: getattr(self, name) for name in ("offset", "seq", "samples", "last")}
        return told | {
            "file": identity(self.run), "likeness": likeness(self.run, self.offset), "notes": [*self.notes],
            "curves": {name: one.kept() for name, one in self.curves.tracks.items()},
        }  # fmt: skip

    @classmethod
    def of(cls, run: Run) -> Reading:
        """As it was kept, if the file is still that one; else nothing is read yet."""
        reading, kept = cls(run), cache.get(STORIES, run.id)
        if not kept or not run.events.exists() or not fits(run, kept):
            return reading
        for name in ("offset", "seq", "samples", "last"):
            setattr(reading, name, kept[name])
        reading.kept = reading.offset
        reading.notes.extend(kept["notes"])
        reading.curves.tracks = {name: Folded.of(one) for name, one in kept["curves"].items()}
        return reading

    @classmethod
    def of_places(cls, run: Run) -> Reading:
        """What evenly spread places of a long story tell at once: curves to look at until it is read."""
        reading = cls(run, curves=Curves())
        for event in summary.glance(run.events, PLACES, LOOK):
            if event["kind"] != "sample":
                reading.event(event)
        reading.recent.clear()
        reading.seq, reading.partly = 0, True  # who knows this gets the whole next
        return reading


def fits(run: Run, kept: dict[str, Any]) -> bool:
    """Is the file the one that was read, or that one and more? Nobody but the engine writes it, and it only appends."""
    now, then = identity(run), kept["file"]
    if now["inode"] != then["inode"] or (now["size"] == then["size"] and now["time"] != then["time"]):
        return False
    return likeness(run, kept["offset"]) == kept["likeness"]


def likeness(run: Run, end: int) -> str:
    with run.events.open("rb") as file:
        return cache.likeness(file, end)


def identity(run: Run) -> dict[str, int]:
    found = run.events.stat()
    return {"inode": found.st_ino, "size": found.st_size, "time": found.st_mtime_ns}


def rewinds(run: Run) -> dict[int, int]:
    """{seq: step} of each time the run went on from an earlier step."""
    with run.events.open("rb") as file:
        found = [events.parse(line) for line in file if b'"resumed"' in line]
    return {event["seq"]: event["from_step"] for event in found if event and event["kind"] == "resumed"}


def drawn(event: Event) -> Event:
    """The event with those of its metrics that have a place in a chart; the others are in the story, not on the page."""
    if "metrics" not in event:
        return event
    return event | {"metrics": {name: value for name, value in event["metrics"].items() if is_drawn(name)}}


def is_drawn(name: str) -> bool:
    told = name.startswith("eval/") or (name.startswith("reward/") and name.endswith("/mean"))
    return told or name in DRAWN or name in metric_labels.of_methods()
