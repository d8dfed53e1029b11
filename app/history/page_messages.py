"""Messages to the page about a run, as it gets them in JSON; components/types.d.ts declares the same."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from typing import TYPE_CHECKING

import msgspec

from app.contracts import Remedy
from app.history.diagnoses import Diagnosis
from app.history.reader import with_chart_metrics
from app.history.series import Series
from app.runs.events import EvalEvent, Event, NoteEvent, StepEvent

if TYPE_CHECKING:
    from app.core.json_types import JsonObject


class FailureText(msgspec.Struct, frozen=True):
    """Why a run failed, and what a person can do."""

    text: str
    advice: str


class DiagnosisEntry(msgspec.Struct, frozen=True, omit_defaults=True):
    """What went wrong, and what helps. remedy: {"title", "changes"} of the setup, see app/contracts.py."""

    id: str
    severity: str
    title: str
    text: str
    advice: str
    remedy: Remedy | None = None


class RunStatus(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What a run does now. step, of: the last step and all steps. ahead: runs before it in the queue. saved: step of
    the last checkpoint. adapter: True when there is a result. why: the reason of its end. result: from which step the
    result is. other: what it can be changed to, best or last. place: the other machine that trains it, in words. diagnoses:
    the gravest first."""

    state: str
    alive: bool
    step: int
    of: int
    seconds_left: float | None = None
    ahead: int | None = None
    saved: int | None = None
    adapter: bool | None = None
    verdict: str | None = None
    why: str | None = None
    result: str | None = None
    other: str | None = None
    failed: FailureText | None = None
    place: str | None = None
    diagnoses: list[DiagnosisEntry] = []


class ChartSeries(msgspec.Struct, frozen=True, omit_defaults=True):
    """A series as the page draws it. tested: True for an evaluation metric, drawn with a dot at each point. mean: of
    each point's bucket."""

    x: list[int]
    y: list[float | None]
    tested: bool | None = None
    mean: list[float | None] | None = None


class ChartPoints(msgspec.Struct, frozen=True):
    """New points of several metrics at the same steps. y: {metric: its values}."""

    x: list[int]
    y: dict[str, list[float | None]]


class SampleEntry(msgspec.Struct, frozen=True):
    """A sample event that the page can fetch by its seq."""

    seq: int
    step: int


class NoteEntry(msgspec.Struct, frozen=True, omit_defaults=True):
    """A note of the run. seq: of its event; None for one of the page's side."""

    level: str
    text: str
    seq: int | None = None


class SnapshotMessage(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that the page shows of a run. names: {metric: label}. journey: ID/STAGE of its pipeline run."""

    run: str
    seq: int
    title: str
    method: str
    names: dict[str, str]
    journey: str | None
    series: dict[str, ChartSeries]
    samples: list[SampleEntry]
    notes: list[NoteEntry]
    now: RunStatus


class NewsMessage(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What came after a seq. from_step: the run went back to this step before the points."""

    run: str
    seq: int
    now: RunStatus
    from_step: int | None = None
    points: list[ChartPoints] = []
    samples: list[SampleEntry] = []
    notes: list[NoteEntry] = []


def chart_points(run_events: Sequence[Event]) -> list[ChartPoints]:
    """The points of step and eval events, one group for consecutive events with the same metrics."""
    metric_events = [with_chart_metrics(event) for event in run_events if isinstance(event, StepEvent | EvalEvent)]
    groups = [list(group) for _, group in groupby(metric_events, key=lambda event: [*event.metrics])]
    return [
        ChartPoints(
            [event.step for event in group],
            {name: [round_value(event.metrics[name]) for event in group] for name in group[0].metrics},
        )
        for group in groups
    ]


def chart_series(series: Series) -> ChartSeries:
    """A series as the page draws it."""
    return ChartSeries(
        series.steps,
        [round_value(value) for value in series.values],
        series.is_eval or None,
        series.means and [round_value(value) for value in series.means],
    )


def round_value(value: float | None) -> float | None:
    """The value with five significant digits; a screen shows no more."""
    return None if value is None else float(f"{value:.5g}")


def diagnosis_entry(diagnosis: Diagnosis) -> DiagnosisEntry:
    """A diagnosis as the page gets it."""
    return DiagnosisEntry(
        diagnosis.id, diagnosis.severity, diagnosis.title, diagnosis.text, diagnosis.advice, diagnosis.remedy
    )


def note_entry(event: NoteEvent) -> NoteEntry:
    """A note as the page gets it."""
    return NoteEntry(event.level, event.text, event.seq)


def to_json_line(message: msgspec.Struct | JsonObject) -> str:
    """Compact JSON on one line."""
    return msgspec.json.encode(message).decode()
