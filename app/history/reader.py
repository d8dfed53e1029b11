"""RunHistory: the events of one run in memory, read once as the file grows, and saved in the cache for long runs."""

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
from app.history.downsampling import DownsampledSeries, RewindTooFar
from app.history.series import MetricHistory, MetricSeries
from app.runs import events
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
LARGE_FILE_BYTES = 32_000_000  # reading more takes longer than a person waits for a page on a busy machine
SAVE_EVERY_BYTES = 8_000_000  # reading less again is quick
PREVIEW_SAMPLES, PREVIEW_SAMPLE_BYTES = 200, 8_000  # number and length of the samples that preview a large file

Event = dict[str, Any]


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
        self.samples: list[Event] = []  # sample events as {"kind", "seq", "step", "at": offset of the line in the file}
        self.notes: deque[Event] = deque(maxlen=_MAX_NOTES)
        self.last_by_kind: dict[str, Event] = {}
        self.is_partial = False  # made by `from_samples`

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
        new_events = events.deduplicate(self._parse_lines(lines), self.seq)
        for kind, same_kind_events in itertools.groupby(new_events, operator.itemgetter("kind")):
            if kind == "step" and not self.rewinds:
                self._add_steps([*same_kind_events])
            else:
                for event in same_kind_events:
                    self._add_event(event)

    def _parse_lines(self, lines: bytes) -> list[Event | None]:
        """The event of each line; sample events get the offset of their line as "at"."""
        parsed_events = events.parse_lines(lines)
        if b'"sample"' in lines:
            line_offsets = itertools.accumulate(map(len, BytesIO(lines)), initial=self.offset)
            for event, line_offset in zip(parsed_events, line_offsets, strict=False):
                if event and event["kind"] == "sample":
                    event["at"] = line_offset
        return parsed_events

    def _add_steps(self, step_events: list[Event]) -> None:
        """Adds step events, those in a row with the same metrics at once."""
        for names, group in itertools.groupby(step_events, lambda event: (*event["metrics"],)):
            grouped_events = [*group]
            steps = [event["step"] for event in grouped_events]
            if any(map(operator.ge, steps, steps[1:])):  # steps that are repeated must be added one by one
                for event in grouped_events:
                    self._add_event(event)
                continue
            metrics_of_steps = [event["metrics"] for event in grouped_events]
            columns = {name: [metrics[name] for metrics in metrics_of_steps] for name in names if is_chart_metric(name)}
            self.metrics.extend(steps, columns)
            self.recent_events.extend(grouped_events)
            self.seq, self.last_by_kind["step"] = grouped_events[-1]["seq"], grouped_events[-1]

    def _add_event(self, event: Event) -> None:
        kind, seq = event["kind"], event["seq"]
        if kind in ("step", "eval", "resumed") and event.get("step", 0) <= self._last_valid_step(seq):
            self.metrics.add(with_chart_metrics(event))
        if kind == "sample":
            event = {name: event[name] for name in ("kind", "seq", "step", "at")}
            self.samples.append(event)
        if kind == "resumed":
            self.samples = [sample for sample in self.samples if sample["step"] <= event["from_step"]]
        if kind == "note" and event["level"] != "info":
            self.notes.append(event)
        self.recent_events.append(event)
        self.seq, self.last_by_kind[kind] = seq, event

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
            cache.put(HISTORY_CACHE, self.run.id, self._to_dict())
        for name in cache.keys(HISTORY_CACHE):  # a person may have deleted the folder of a run
            if not self.run.path.with_name(name).is_dir():
                cache.delete(HISTORY_CACHE, name)

    def _to_dict(self) -> dict[str, Any]:
        """All but the recent events. So a page that comes back after a restart gets a new snapshot."""
        return {
            "offset": self.offset,
            "seq": self.seq,
            "samples": self.samples,
            "last": self.last_by_kind,
            "file": _file_identity(self.run),
            "likeness": _events_hash(self.run, self.offset),
            "notes": [*self.notes],
            "curves": {name: series.to_dict() for name, series in self.metrics.by_name.items()},
        }

    @classmethod
    def load(cls, run: Run) -> RunHistory:
        """The saved history, if the file is still the same; otherwise an unread one."""
        history, saved = cls(run), cache.get(HISTORY_CACHE, run.id)
        if not saved or not run.events.exists() or not _is_same_file(run, saved):
            return history
        history.offset = history.saved_offset = saved["offset"]
        history.seq, history.samples, history.last_by_kind = saved["seq"], saved["samples"], saved["last"]
        history.notes.extend(saved["notes"])
        history.metrics.by_name = {name: DownsampledSeries.from_dict(data) for name, data in saved["curves"].items()}
        return history

    @classmethod
    def from_samples(cls, run: Run) -> RunHistory:
        """A preview from evenly spaced samples of a large file: approximate charts until all of it is read."""
        history = cls(run)
        history.metrics.series_class = _PreviewSeries
        for event in summary.sample_events(run.events, PREVIEW_SAMPLES, PREVIEW_SAMPLE_BYTES):
            if event["kind"] != "sample":
                history._add_event(event)
        history.recent_events.clear()
        history.seq, history.is_partial = 0, True  # seq 0: a page that has this one gets a new snapshot next
        return history


def _is_same_file(run: Run, saved: dict[str, Any]) -> bool:
    """Whether events.jsonl is the file that was read, or has only grown: the engine, its only writer, appends."""
    current, previous = _file_identity(run), saved["file"]
    if current["inode"] != previous["inode"]:
        return False
    if current["size"] == previous["size"] and current["time"] != previous["time"]:
        return False
    return _events_hash(run, saved["offset"]) == saved["likeness"]


def _events_hash(run: Run, byte_count: int) -> str:
    with run.events.open("rb") as file:
        return cache.sampled_hash(file, byte_count)


def _file_identity(run: Run) -> dict[str, int]:
    file_stat = run.events.stat()
    return {"inode": file_stat.st_ino, "size": file_stat.st_size, "time": file_stat.st_mtime_ns}


def _find_rewinds(run: Run) -> dict[int, int]:
    """{seq: step} of each resumed event in the file."""
    with run.events.open("rb") as file:
        resumed_events = [events.parse_line(line) for line in file if b'"resumed"' in line]
    return {event["seq"]: event["from_step"] for event in resumed_events if event and event["kind"] == "resumed"}


def with_chart_metrics(event: Event) -> Event:
    """The event with only those metrics that the page draws; the file has all of them."""
    if "metrics" not in event:
        return event
    return event | {"metrics": {name: value for name, value in event["metrics"].items() if is_chart_metric(name)}}


def is_chart_metric(name: str) -> bool:
    """Whether the page draws this metric."""
    is_eval_or_reward = name.startswith("eval/") or (name.startswith("reward/") and name.endswith("/mean"))
    return is_eval_or_reward or name in CHART_METRICS or name in metric_labels.method_metrics()
