"""What became of a run: its diagnoses, its comparison on held-out examples, and which checkpoint its result is."""

from __future__ import annotations

from typing import NamedTuple

from app.core.problems import Problem
from app.history.diagnoses import Diagnosis, Evidence, diagnose
from app.history.reader import RunHistory
from app.history.result_words import result_words
from app.history.verdict import without_diagnosis
from app.runs.events import DoneEvent, FailedEvent, SavedEvent, StepEvent
from app.runs.result import RESULT_FILE, other_choice, read_result
from app.runs.store import Run


class Outcome(NamedTuple):
    """comparison: the first evaluation and that of the result; empty where another checkpoint became the result since.
    result_words: from which step the result is. other_result: what it can be changed to, best or last."""

    diagnoses: list[Diagnosis]
    comparison: str
    result_words: str
    other_result: str | None


class OutcomeReader:
    """Reads the outcome of one run, again only when its events or the record of its result changed."""

    def __init__(self, run: Run):
        self._run = run
        self._stamp: tuple[int, str, int] | None = None
        self._outcome = Outcome([], "", "", None)

    def read(self, history: RunHistory, state: str) -> Outcome:
        """The outcome by a history of events. state: of the run, as `run_state` gives it."""
        stamp = (history.seq, state, self._record_time())
        if self._stamp != stamp:
            self._stamp, self._outcome = stamp, self._read(history, state)
        return self._outcome

    def _record_time(self) -> int:
        """When the record of the result was written, in nanoseconds; 0 without one, as in runs of earlier versions."""
        try:
            return (self._run.path / RESULT_FILE).stat().st_mtime_ns
        except OSError:  # boundary: a run that has no result, or is being deleted
            return 0

    def _read(self, history: RunHistory, state: str) -> Outcome:
        try:
            record = read_result(self._run)
        except (Problem, OSError):  # boundary: the disk, and runs that are being deleted
            record = None
        done, saved = history.last(DoneEvent), history.last(SavedEvent)
        is_as_judged = not record or not saved or saved.what != "adapter" or saved.step == record["step"]
        return Outcome(
            self._diagnoses(history, state, record["step"] if record else None),
            without_diagnosis(done.verdict or "") if done and is_as_judged else "",
            result_words(self._run),
            other_choice(record) if record else None,
        )

    def _diagnoses(self, history: RunHistory, state: str, result_step: int | None) -> list[Diagnosis]:
        """What the metrics so far say went wrong; none of a damaged setup."""
        try:
            spec = self._run.spec
        except (Problem, OSError):  # boundary: a file of a later version, damaged or being deleted
            return []
        step = history.last(StepEvent)
        evidence = Evidence(
            spec,
            {series.name: series for series in history.metrics.all_series()},
            step=step.step if step else 0,
            of=step.of if step else 0,
            epoch=step.epoch if step else None,
            is_over=state == "finished",
            failure=history.last(FailedEvent) if state == "failed" else None,
            result_step=result_step,
        )
        return diagnose(evidence)
