"""RunSnapshot: the state of one run, shared by all pages that watch it, so that its events are read only once."""

from __future__ import annotations

import threading
from typing import NamedTuple, TypedDict

from app.core.json_types import JsonObject
from app.core.problems import Problem
from app.history.downsampling import RewindTooFar
from app.history.metric_labels import labels_by_metric
from app.history.outcome import OutcomeReader
from app.history.page_messages import (
    FailureText,
    NewsMessage,
    NoteEntry,
    RunStatus,
    SampleEntry,
    SnapshotMessage,
    chart_points,
    chart_series,
    diagnosis_entry,
    note_entry,
    to_json_line,
)
from app.history.reader import LARGE_FILE_BYTES, RunHistory, SamplePosition, is_chart_metric
from app.history.series import downsample
from app.runs import events, store
from app.runs.events import (
    DoneEvent,
    FailedEvent,
    NoteEvent,
    ProgressEvent,
    ResumedEvent,
    SampleEvent,
    SavedEvent,
    StepEvent,
    of_type,
)
from app.runs.mirror_record import describe_place, read_mirror_record
from app.runs.records import read_record
from app.runs.store import Run

_LOG_BYTES = 64_000  # of the end of the log that are read
LOG_LINES = 200
PARTIAL_HISTORY_TEXT = (
    "This run is long: until all of it is read, its curves show parts of it, and its answers are missing."
)


class SampleRows(TypedDict):
    """The completions of a sample event. goes_on: whether prompts are beginnings of texts."""

    step: int
    rows: list[JsonObject]
    goes_on: bool


class Updates(NamedTuple):
    """What a page does not have yet, as JSON. kind: "news" or "snapshot". seq, version: what the page then has."""

    kind: str
    seq: int
    payload: str
    version: int


class RunSnapshot:
    """A run's history and status.

    `refresh` reads what is new, `updates_since` gives it to a page. Any thread may call them.
    """

    def __init__(self, run: Run):
        self.run = run
        self.lock = threading.Lock()
        self.version = 0  # increases with every change
        self.history = RunHistory.load(run)  # what pages get
        self.loading: RunHistory | None = None  # a long history that a thread reads, to replace `history`
        self.status = RunStatus(state="new", alive=False, step=0, of=0)
        self._outcome_reader = OutcomeReader(run)
        self._cached_news: tuple[int, int, str] = (0, -1, "")  # the latest news as (after seq, version, JSON)

    @property
    def seq(self) -> int:
        """The seq of the last event that was read."""
        return self.history.seq

    def refresh(self) -> bool:
        """Reads new events and the status. False when the run was deleted."""
        with self.lock:
            if not self.run.path.is_dir():
                return False
            alive = store.is_alive(self.run)  # before reading, so that events written just before the end are read
            previous_seq = self.seq
            self.read_new()
            status = self.current_status(alive)
            if status != self.status or previous_seq != self.seq:
                self.status, self.version = status, self.version + 1
        return True

    # -- reading ------------------------------------------------------------------------------------------------------

    def read_new(self) -> None:
        """Reads new events at once; a large file is read in a thread, and a preview from samples is shown meanwhile."""
        if self.loading:
            return
        if self.history.unread_bytes > LARGE_FILE_BYTES:
            self._read_in_thread(self.history)
            self.history = RunHistory.from_samples(self.run)
            return
        try:
            self.history.read_new()
        except RewindTooFar as rewind:
            self._read_restarted(self.history.restarted(rewind))
        self.history.save()

    def _read_restarted(self, history: RunHistory) -> None:
        """Reads a restarted history. While a large one is read in a thread, the old one stays."""
        if history.unread_bytes > LARGE_FILE_BYTES:
            self._read_in_thread(history)
        else:
            self.history = _read_to_end(history)

    def _read_in_thread(self, history: RunHistory) -> None:
        self.loading = history
        threading.Thread(target=self._finish_loading, args=(history,), daemon=True).start()

    def _finish_loading(self, history: RunHistory) -> None:
        """Thread that reads the loading history to its end and puts it in place of the current one."""
        try:
            history = _read_to_end(history)
            history.save()
        finally:  # also after an error: the next refresh meets it again and raises it
            with self.lock:
                self.history, self.loading = history, None

    def current_status(self, alive: bool) -> RunStatus:
        """What the run does now."""
        last = self.history.last
        state = store.run_state(self.run, alive)
        step, progress, saved = last(StepEvent), last(ProgressEvent), last(SavedEvent)
        done = last(DoneEvent) if state in ("finished", "stopped") else None
        failed = last(FailedEvent)
        failure = FailureText(failed.text, failed.advice) if failed else FailureText("", "")
        outcome = self._outcome_reader.read(self.history, state)
        return RunStatus(
            state=state,
            alive=alive,
            step=step.step if step else 0,
            of=step.of if step else 0,
            seconds_left=step.seconds_left if step and alive else None,
            ahead=progress.of if progress and state == "waiting" else None,
            saved=saved.step if saved else None,
            adapter=self.run.adapter.is_dir() or None,
            verdict=(outcome.comparison or None) if done else None,
            why=done.why if done else None,
            result=(outcome.result_words or None) if done else None,
            other=outcome.other_result if done else None,
            failed=failure if state == "failed" else None,
            place=describe_place(read_mirror_record(self.run.path)),
            diagnoses=[diagnosis_entry(diagnosis) for diagnosis in outcome.diagnoses],
        )

    # -- for the page -------------------------------------------------------------------------------------------------

    def updates_since(self, after_seq: int) -> Updates:
        """What came after `after_seq` as a NewsMessage; a SnapshotMessage when that seq is too old or unknown."""
        with self.lock:
            recent_events = self.history.recent_events
            oldest_seq = recent_events[0].seq if recent_events else self.seq + 1
            if after_seq > self.seq or after_seq < oldest_seq - 1:
                return Updates("snapshot", self.seq, self.snapshot_json(), self.version)
            if self._cached_news[:2] != (after_seq, self.version):  # many pages ask for the same
                self._cached_news = after_seq, self.version, to_json_line(self._news_since(after_seq))
            return Updates("news", self.seq, self._cached_news[2], self.version)

    def snapshot_json(self) -> str:
        """A SnapshotMessage as JSON."""
        history, spec = self.history, spec_dict(self.run)
        notes = [note_entry(note) for note in history.notes]
        if history.is_partial:
            notes.append(NoteEntry("info", PARTIAL_HISTORY_TEXT))
        snapshot = SnapshotMessage(
            run=self.run.id,
            seq=self.seq,
            title=str(spec.get("title") or store.title_from_id(self.run.id)),
            method=str(spec.get("method", "")),
            names=labels_by_metric(spec),
            journey=_pipeline_stage_of(self.run),
            series={
                series.name: chart_series(downsample(series))
                for series in history.metrics.all_series()
                if is_chart_metric(series.name)
            },
            samples=[SampleEntry(sample.seq, sample.step) for sample in history.samples],
            notes=notes,
            now=self.status,
        )
        return to_json_line(snapshot)

    def _news_since(self, after_seq: int) -> NewsMessage:
        new_events = [event for event in self.history.recent_events if event.seq > after_seq]
        current_events = events.drop_rewound(new_events)
        return NewsMessage(
            run=self.run.id,
            seq=self.seq,
            now=self.status,
            from_step=min((event.from_step for event in of_type(new_events, ResumedEvent)), default=None),
            points=chart_points(current_events),
            samples=[SampleEntry(event.seq, event.step) for event in of_type(current_events, SampleEvent)],
            notes=[note_entry(note) for note in of_type(new_events, NoteEvent) if note.level != "info"],
        )

    def read_sample(self, seq: int) -> SampleRows:
        """The completions of the sample event with this seq. Raises Problem when there is none."""
        with self.lock:
            position = next((sample for sample in self.history.samples if sample.seq == seq), None)
        event = self._read_sample_event(position) if position else None
        if event is None:
            raise Problem("There are no such answers in this run.", reason="missing")
        goes_on = self.run.facts.get("chat") is False
        return {"step": event.step, "rows": store.sample_rows(self.run, event), "goes_on": goes_on}

    def _read_sample_event(self, position: SamplePosition) -> SampleEvent | None:
        """The event at this position; None where the file was replaced by another one meanwhile."""
        with self.run.events.open("rb") as file:
            file.seek(position.offset)
            event = events.parse_line(file.readline())
        return event if isinstance(event, SampleEvent) else None


def read_log(run: Run) -> str:
    """The last lines of the log, without the event lines."""
    path = run.path / "log.txt"
    if not path.is_file():  # a device has no end
        return ""
    with path.open("rb") as file:
        start = max(0, file.seek(0, 2) - _LOG_BYTES)
        file.seek(start)
        lines = file.read().decode("utf-8", "replace").splitlines()[1 if start else 0 :]
    return "\n".join([line for line in lines if not line.startswith(events.LOG_PREFIX)][-LOG_LINES:])


def _read_to_end(history: RunHistory) -> RunHistory:
    """The history with all events read; another one when it had to be restarted."""
    try:
        history.read_new()
    except RewindTooFar as rewind:
        return _read_to_end(history.restarted(rewind))
    return history


def spec_dict(run: Run) -> JsonObject:
    """The spec as plain data; empty when it is damaged, so that the events can still be shown."""
    try:
        return run.spec.to_dict()
    except (Problem, OSError):  # boundary: a file of a later version, damaged or being deleted
        return {}


def _pipeline_stage_of(run: Run) -> str | None:
    """ID/STAGE of the pipeline run that it belongs to, if that still exists."""
    try:
        stage_path = read_record(run.path / "launch.json").get("journey") or ""
        exists = (run.workspace.pipelines / stage_path.partition("/")[0] / "chain.json").is_file()
        return stage_path if stage_path and exists else None
    except (Problem, OSError):  # boundary: as in `spec_dict`
        return None
