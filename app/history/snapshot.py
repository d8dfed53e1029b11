"""RunSnapshot: the state of one run, shared by all pages that watch it, so that its events are read only once."""

from __future__ import annotations

import json
import threading
from itertools import groupby
from typing import Any

from app.core import paths
from app.core.problems import Problem
from app.history.downsampling import RewindTooFar
from app.history.metric_labels import labels_by_metric
from app.history.reader import LARGE_FILE_BYTES, Event, RunHistory, with_chart_metrics
from app.history.series import Series, downsample
from app.runs import events, store
from app.runs.store import Run

_LOG_BYTES = 64_000  # of the end of the log that are read
LOG_LINES = 200
PARTIAL_HISTORY_TEXT = (
    "This run is long: until all of it is read, its curves show parts of it, and its answers are missing."
)


class RunSnapshot:
    """A run's history and status.

    `refresh` reads what is new, `updates_since` gives it to a page. Any thread may call them.
    """

    def __init__(self, run: Run):
        self.run = run
        self.lock = threading.Lock()
        self.version = 0  # increases with every change
        self.history: RunHistory | None = None  # what pages get
        self.loading: RunHistory | None = None  # a long history that a thread reads, to replace `history`
        self.status: dict[str, Any] = {}
        self._cached_news: tuple[int, int, str] = (0, -1, "")  # the latest news as (after seq, version, JSON)

    @property
    def seq(self) -> int:
        """The seq of the last event that was read."""
        return self.history.seq if self.history else 0

    @property
    def _current(self) -> RunHistory:
        assert self.history is not None, "refresh comes first"
        return self.history

    def refresh(self) -> bool:
        """Reads new events and the status. False when the run was deleted."""
        with self.lock:
            if not self.run.path.is_dir():
                return False
            alive = store.is_alive(
                self.run
            )  # asked before reading, so that events written just before the end are read
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
        self.history = self.history or RunHistory.load(self.run)
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

    def current_status(self, alive: bool) -> dict[str, Any]:
        """What the run does now, for the page; a missing field means null."""
        last = self._current.last_by_kind
        state = store.run_state(self.run, alive)
        step, progress = last.get("step", {}), last.get("progress", {})
        done = last.get("done", {}) if state in ("finished", "stopped") else {}
        status = {
            "state": state,
            "alive": alive,
            "step": step.get("step", 0),
            "of": step.get("of", 0),
            "left": step.get("seconds_left") if alive else None,
            "ahead": progress.get("of") if state == "waiting" else None,
            "saved": last.get("saved", {}).get("step"),
            "adapter": self.run.adapter.is_dir() or None,
            "verdict": done.get("verdict"),
            "why": done.get("why"),
            "failed": _failure_text(last) if state == "failed" else None,
        }
        return {name: value for name, value in status.items() if value is not None}

    # -- for the page -------------------------------------------------------------------------------------------------

    def updates_since(self, after_seq: int) -> tuple[str, int, str, int]:
        """("news", seq, JSON, version) with what came after `after_seq`, or ("snapshot", …) with everything, when that
        seq is too old or unknown."""
        with self.lock:
            recent_events = self._current.recent_events
            oldest_seq = recent_events[0]["seq"] if recent_events else self.seq + 1
            if after_seq > self.seq or after_seq < oldest_seq - 1:
                return "snapshot", self.seq, self.snapshot_json(), self.version
            if self._cached_news[:2] != (after_seq, self.version):  # many pages ask for the same
                self._cached_news = after_seq, self.version, to_json_line(self._news_since(after_seq))
            return "news", self.seq, self._cached_news[2], self.version

    def snapshot_json(self) -> str:
        """Everything that the page shows of the run, as JSON."""
        history, spec = self._current, spec_dict(self.run)
        notes: list[dict[str, Any]] = [_note_entry(note) for note in history.notes]
        if history.is_partial:
            notes.append({"level": "info", "text": PARTIAL_HISTORY_TEXT})
        snapshot = {
            "run": self.run.id,
            "seq": self.seq,
            "title": spec.get("title") or store.title_from_id(self.run.id),
            "method": spec.get("method", ""),
            "names": labels_by_metric(spec),
            "journey": _pipeline_stage_of(self.run),
            "series": {series.name: chart_series(downsample(series)) for series in history.metrics.all_series()},
            "samples": [_sample_entry(sample) for sample in history.samples],
            "notes": notes,
            "now": self.status,
        }
        return to_json_line(snapshot)

    def _news_since(self, after_seq: int) -> dict[str, Any]:
        """What came after this seq; empty fields are left out."""
        new_events = [event for event in self._current.recent_events if event["seq"] > after_seq]
        current_events = events.drop_rewound(new_events)
        resumed_steps = [event["from_step"] for event in new_events if event["kind"] == "resumed"]
        changes = {
            "from_step": min(resumed_steps) if resumed_steps else None,
            "points": chart_points(current_events),
            "samples": [_sample_entry(event) for event in current_events if event["kind"] == "sample"],
            "notes": [
                _note_entry(event) for event in new_events if event["kind"] == "note" and event["level"] != "info"
            ],
        }
        changes = {name: value for name, value in changes.items() if value not in (None, [])}
        return {"run": self.run.id, "seq": self.seq, "now": self.status} | changes

    def read_sample(self, seq: int) -> dict[str, Any]:
        """{"step", "rows", "goes_on": whether prompts are beginnings of texts} of the sample event with this seq.

        Raises Problem when there is none.
        """
        with self.lock:
            sample = next((sample for sample in self._current.samples if sample["seq"] == seq), None)
        if sample is None:
            raise Problem("There are no such answers in this run.", reason="missing")
        with self.run.events.open("rb") as file:
            file.seek(sample["at"])
            event = events.parse_line(file.readline()) or {}
        goes_on = store.read_json(self.run.path / "facts.json").get("chat") is False
        return {"step": sample["step"], "rows": store.sample_rows(self.run, event), "goes_on": goes_on}

    def read_log(self) -> str:
        """The last lines of the log, without the event lines."""
        path = self.run.path / "log.txt"
        if not path.exists():
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


def chart_points(run_events: list[Event]) -> list[dict[str, Any]]:
    """[{"x": [steps], "y": {metric: [values]}}], one for each group of consecutive events with the same metrics."""
    metric_events = [with_chart_metrics(event) for event in run_events if event["kind"] in ("step", "eval")]
    groups = [list(group) for _, group in groupby(metric_events, key=lambda event: [*event["metrics"]])]
    return [
        {
            "x": [event["step"] for event in group],
            "y": {name: [round_value(event["metrics"][name]) for event in group] for name in group[0]["metrics"]},
        }
        for group in groups
    ]


def chart_series(series: Series) -> dict[str, Any]:
    """A series as the page draws it. "tested": an evaluation metric, drawn with a dot at each point."""
    chart = {
        "x": series.steps,
        "y": [round_value(value) for value in series.values],
        "tested": series.is_eval or None,
        "mean": series.means and [round_value(value) for value in series.means],
    }
    return {name: value for name, value in chart.items() if value is not None}


def round_value(value: float | None) -> float | None:
    """The value with five significant digits; a screen shows no more."""
    return None if value is None else float(f"{value:.5g}")


def spec_dict(run: Run) -> dict[str, Any]:
    """The spec as plain data; empty when it is damaged, so that the events can still be shown."""
    try:
        return run.spec.to_dict()
    except (Problem, ValueError, OSError):  # boundary: a file of a later version, damaged or being deleted
        return {}


def _pipeline_stage_of(run: Run) -> str | None:
    """ID/STAGE of the pipeline run that it belongs to, if that still exists."""
    try:
        stage_path = store.read_json(run.path / "launch.json").get("journey") or ""
        exists = (paths.home("journeys") / stage_path.partition("/")[0] / "chain.json").is_file()
        return stage_path if stage_path and exists else None
    except ValueError:  # boundary: as in `spec_dict`
        return None


def _failure_text(last_by_kind: dict[str, Event]) -> dict[str, str]:
    return {name: last_by_kind.get("failed", {}).get(name, "") for name in ("text", "advice")}


def _sample_entry(event: Event) -> dict[str, int]:
    return {"seq": event["seq"], "step": event["step"]}


def _note_entry(event: Event) -> dict[str, Any]:
    return {"seq": event["seq"], "level": event["level"], "text": event["text"]}


def to_json_line(message: dict[str, Any]) -> str:
    """Compact JSON on one line. Raises ValueError for NaN and infinity, which JSON does not have."""
    return json.dumps(message, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
