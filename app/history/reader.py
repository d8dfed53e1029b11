"""RunHistory: the events of one run in memory, read once as the file grows, and saved in the cache for long runs."""

from __future__ import annotations

import contextlib
import itertools
import math
import operator
from collections import deque
from collections.abc import Callable, Sequence
from io import BytesIO
from typing import NamedTuple

import msgspec

from app.core import cache
from app.history import metric_labels, summary
from app.history.downsampling import DownsampledSeries, RewindTooFar, SavedSeries
from app.history.series import MetricHistory, MetricSeries
from app.runs import events
from app.runs.events import (
    BaseEvent,
    EvalEvent,
    Event,
    EventT,
    MetricEvent,
    NoteEvent,
    ResumedEvent,
    SampleEvent,
    SavedEvent,
    StepEvent,
)
from app.runs.store import HISTORY_CACHE, Run

RECENT_EVENTS = 1_000  # that are kept complete; a page that missed more of them gets a new snapshot
_MAX_NOTES = 20
CHART_METRICS = (
    "train/loss",
    "train/learning_rate",
    "train/grad_norm",
    "reward/mean",
    "system/tokens_per_second",
    "system/memory",
    "system/gpu_memory",
)
PROBE_PREFIX = "probe/"  # of metrics that only diagnoses read
LARGE_FILE_BYTES = 32_000_000  # reading more takes longer than a person waits for a page on a busy machine
SAVE_EVERY_BYTES = 8_000_000  # reading less again is quick
PREVIEW_SAMPLES, PREVIEW_SAMPLE_BYTES = 200, 8_000  # number and length of the samples that preview a large file


class FileIdentity(NamedTuple):
    """Which file events.jsonl is, its size in bytes and its modification time in Unix nanoseconds."""

    inode: int
    size: int
    modified_ns: int


class SamplePosition(NamedTuple):
    """A sample event: its seq, its step, and the offset of its line in the file in bytes."""

    seq: int
    step: int
    offset: int


class SavedHistory(msgspec.Struct, frozen=True):
    """A RunHistory in the cache, without the recent events: a page that comes back after a restart gets a new snapshot.

    file, events_hash: of the file when it was read. last_events: the last event of each kind.
    """

    offset: int
    seq: int
    file: FileIdentity
    events_hash: str
    samples: list[SamplePosition]
    notes: list[NoteEvent]
    last_events: list[Event]
    series: dict[str, SavedSeries]


class _PreviewSeries(DownsampledSeries):
    """A series of few points that is never merged into buckets, so that it can be truncated anywhere."""

    def extend(self, steps: list[int], values: list[float | None]) -> None:
        MetricSeries.extend(self, steps, values)


class RunHistory:
    """What the events say up to `offset` of their file, which is up to the event `seq`.

    rewinds: {seq: step}, one for each time the run went back further than DownsampledSeries can be truncated. Events
    before that seq are left out past that step from the start.
    """

    def __init__(self, run: Run, rewinds: dict[int, int] | None = None):
        self.run, self.rewinds = run, rewinds or {}
        self.offset = self.saved_offset = self.seq = 0
        self.metrics = MetricHistory(DownsampledSeries)
        self.recent_events: deque[Event] = deque(maxlen=RECENT_EVENTS)
        self.samples: list[SamplePosition] = []
        self.notes: deque[NoteEvent] = deque(maxlen=_MAX_NOTES)
        self._last_events: dict[type[BaseEvent], Event] = {}  # of each kind
        self.is_partial = False  # made by `from_samples`

    def last(self, event_class: type[EventT]) -> EventT | None:
        """The last event of this class, or None."""
        event = self._last_events.get(event_class)
        return event if isinstance(event, event_class) else None

    # -- reading ------------------------------------------------------------------------------------------------------

    @property
    def unread_bytes(self) -> int:
        """Bytes of the file that are not read yet; a line that is still being written counts."""
        return self.run.events.stat().st_size - self.offset if self.run.events.exists() else 0

    def read_new(self) -> None:
        """Reads all complete lines that follow.

        Raises RewindTooFar: then `restarted` gives the history to read instead.
        """
        if self.unread_bytes <= 0:
            return
        with self.run.events.open("rb") as file:
            file.seek(self.offset)
            for lines in events.read_line_batches(file):
                self._add_lines(lines)
                self.offset += len(lines)

    def restarted(self, rewind: RewindTooFar) -> RunHistory:
        """A new, unread history that knows all rewinds in the file from the start."""
        return RunHistory(self.run, self.rewinds | _find_rewinds(self.run) | {self.seq + 1: rewind.last_step})

    def _add_lines(self, lines: bytes) -> None:
        """Adds the events of complete lines. Many steps in a row are added at once, which is faster."""
        parsed_events = events.parse_lines(lines)
        sample_offsets = self._sample_offsets(lines, parsed_events) if b'"sample"' in lines else {}
        for event_class, group in itertools.groupby(events.deduplicate(parsed_events, self.seq), type):
            if event_class is StepEvent and not self.rewinds:
                self._add_steps([event for event in group if isinstance(event, StepEvent)])
                continue
            for event in group:
                if isinstance(event, SampleEvent):
                    self.samples.append(SamplePosition(event.seq, event.step, sample_offsets[event.seq]))
                    event = msgspec.structs.replace(event, rows=None)
                self._add_event(event)

    def _sample_offsets(self, lines: bytes, parsed_events: Sequence[Event | None]) -> dict[int, int]:
        """{seq of a sample event: offset of its line in the file}. parsed_events: one for each line."""
        line_offsets = itertools.accumulate(map(len, BytesIO(lines)), initial=self.offset)
        return {
            event.seq: offset
            for event, offset in zip(parsed_events, line_offsets, strict=False)
            if isinstance(event, SampleEvent)
        }

    def _add_steps(self, step_events: list[StepEvent]) -> None:
        """Adds step events, those in a row with the same metrics at once."""
        for names, group in itertools.groupby(step_events, lambda event: (*event.metrics,)):
            grouped_events = [*group]
            steps = [event.step for event in grouped_events]
            if any(map(operator.ge, steps, steps[1:])):  # steps that are repeated must be added one by one
                for event in grouped_events:
                    self._add_event(event)
                continue
            metrics_of_steps = [event.metrics for event in grouped_events]
            columns = {name: [metrics[name] for metrics in metrics_of_steps] for name in names if _is_kept(name)}
            self.metrics.extend(steps, columns)
            self.recent_events.extend(grouped_events)
            self.seq, self._last_events[StepEvent] = grouped_events[-1].seq, grouped_events[-1]

    def _add_event(self, event: Event) -> None:
        if isinstance(event, StepEvent | EvalEvent) and event.step <= self._last_valid_step(event.seq):
            self.metrics.add(_with_metrics(event, _is_kept))
        elif isinstance(event, ResumedEvent):
            self.metrics.add(event)
            self.samples = [sample for sample in self.samples if sample.step <= event.from_step]
        elif isinstance(event, NoteEvent) and event.level != "info":
            self.notes.append(event)
        self.recent_events.append(event)
        self.seq = event.seq
        # A result may be of an earlier step than the last checkpoint, which a run is resumed from.
        if not isinstance(event, SavedEvent) or event.what == "checkpoint":
            self._last_events[type(event)] = event

    def _last_valid_step(self, seq: int) -> float:
        """The last step that still counts in an event of this seq; infinity when no rewind came after it."""
        return min((step for rewind_seq, step in self.rewinds.items() if seq < rewind_seq), default=math.inf)

    # -- saving -------------------------------------------------------------------------------------------------------

    def save(self) -> None:
        """Saves the history in the cache when enough is new, for the next start of the page."""
        if self.offset - self.saved_offset < SAVE_EVERY_BYTES:
            return
        self.saved_offset = self.offset
        with contextlib.suppress(FileNotFoundError):  # boundary: the run may be deleted at this moment
            cache.put(self.run.workspace, HISTORY_CACHE, self.run.id, msgspec.to_builtins(self._to_saved()))
        for name in cache.keys(self.run.workspace, HISTORY_CACHE):  # a person may have deleted the folder of a run
            if not self.run.path.with_name(name).is_dir():
                cache.delete(self.run.workspace, HISTORY_CACHE, name)

    def _to_saved(self) -> SavedHistory:
        return SavedHistory(
            offset=self.offset,
            seq=self.seq,
            file=_file_identity(self.run),
            events_hash=_events_hash(self.run, self.offset),
            samples=self.samples,
            notes=[*self.notes],
            last_events=[*self._last_events.values()],
            series={name: series.to_saved() for name, series in self.metrics.by_name.items()},
        )

    @classmethod
    def load(cls, run: Run) -> RunHistory:
        """The saved history, if the file is still the same; otherwise an unread one."""
        history, content = cls(run), cache.get(run.workspace, HISTORY_CACHE, run.id)
        if content is None or not run.events.exists():
            return history
        saved = msgspec.convert(content, SavedHistory)
        if not _is_same_file(run, saved):
            return history
        history.offset = history.saved_offset = saved.offset
        history.seq, history.samples = saved.seq, saved.samples
        history.notes.extend(saved.notes)
        history._last_events = {type(event): event for event in saved.last_events}
        history.metrics.by_name = {name: DownsampledSeries.from_saved(series) for name, series in saved.series.items()}
        return history

    @classmethod
    def from_samples(cls, run: Run) -> RunHistory:
        """A preview from evenly spaced samples of a large file: approximate charts until all of it is read."""
        history = cls(run)
        history.metrics.series_class = _PreviewSeries
        for event in summary.sample_events(run.events, PREVIEW_SAMPLES, PREVIEW_SAMPLE_BYTES):
            if not isinstance(event, SampleEvent):
                history._add_event(event)
        history.recent_events.clear()
        history.seq, history.is_partial = 0, True  # seq 0: a page that has this one gets a new snapshot next
        return history


def _is_same_file(run: Run, saved: SavedHistory) -> bool:
    """Whether events.jsonl is the file that was read, or has only grown: the engine, its only writer, appends."""
    current, previous = _file_identity(run), saved.file
    if current.inode != previous.inode:
        return False
    if current.size == previous.size and current.modified_ns != previous.modified_ns:
        return False
    return _events_hash(run, saved.offset) == saved.events_hash


def _events_hash(run: Run, byte_count: int) -> str:
    with run.events.open("rb") as file:
        return cache.sampled_hash(file, byte_count)


def _file_identity(run: Run) -> FileIdentity:
    file_stat = run.events.stat()
    return FileIdentity(file_stat.st_ino, file_stat.st_size, file_stat.st_mtime_ns)


def _find_rewinds(run: Run) -> dict[int, int]:
    """{seq: step} of each resumed event in the file."""
    with run.events.open("rb") as file:
        resumed_events = [events.parse_line(line) for line in file if b'"resumed"' in line]
    return {event.seq: event.from_step for event in resumed_events if isinstance(event, ResumedEvent)}


def with_chart_metrics(event: MetricEvent) -> MetricEvent:
    """The event with only those metrics that the page draws; the file has all of them."""
    return _with_metrics(event, is_chart_metric)


def _with_metrics(event: MetricEvent, is_wanted: Callable[[str], bool]) -> MetricEvent:
    metrics = {name: value for name, value in event.metrics.items() if is_wanted(name)}
    return msgspec.structs.replace(event, metrics=metrics)


def _is_kept(name: str) -> bool:
    """Whether the page draws this metric, or diagnoses read it."""
    return name.startswith(PROBE_PREFIX) or is_chart_metric(name)


def is_chart_metric(name: str) -> bool:
    """Whether the page draws this metric."""
    if name.startswith(PROBE_PREFIX):
        return False
    is_eval_or_reward = name.startswith("eval/") or (name.startswith("reward/") and name.endswith("/mean"))
    return is_eval_or_reward or name in CHART_METRICS or name in metric_labels.method_metrics()
