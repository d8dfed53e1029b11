"""Summary of a run: its result in a few words, and a sparkline.

Both are made from samples of the events, so that long runs cost no more than short ones.
"""

from __future__ import annotations

import itertools
import math
import os
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import msgspec

from app.runs import eval_sets, events
from app.runs.events import EvalEvent, Event, FailedEvent, Metrics, StepEvent, last_of_type, of_type

SPARKLINE_POINTS = 24
FULL_READ_BYTES = 400_000  # longer files are sampled
SAMPLE_COUNT, SAMPLE_BYTES = (
    48,
    12_000,
)  # number and length of the samples; the head and the tail are four times as long


def sample_events(path: Path, sample_count: int = SAMPLE_COUNT, sample_bytes: int = SAMPLE_BYTES) -> list[Event]:
    """The current events of a run, in order; of a long file the head, the tail and evenly spaced samples between."""
    if not path.exists():
        return []
    with path.open("rb") as file:
        file_size = file.seek(0, 2)
        samples: list[tuple[int, int]] = []  # (offset, length)
        byte_ranges = [(0, file_size)]
        if file_size > FULL_READ_BYTES:
            samples = [(file_size * index // sample_count, sample_bytes) for index in range(1, sample_count)]
            head, tail = (0, 4 * SAMPLE_BYTES), (file_size - 4 * SAMPLE_BYTES, 4 * SAMPLE_BYTES)
            byte_ranges = [head, *samples, tail]
        _prefetch(file, samples)
        parsed_ranges = [events.parse_lines(_read_complete_lines(file, start, length)) for start, length in byte_ranges]
    return events.drop_rewound(events.deduplicate(itertools.chain(*parsed_ranges)))


def _prefetch(file: BinaryIO, byte_ranges: list[tuple[int, int]]) -> None:
    """Tells the system to load all ranges before any is read: a disk is faster with many requests at once."""
    if sys.platform == "linux":  # macOS has no posix_fadvise
        for start, length in byte_ranges:
            os.posix_fadvise(file.fileno(), start, length, os.POSIX_FADV_WILLNEED)


def _read_complete_lines(file: BinaryIO, start: int, length: int) -> bytes:
    """The complete lines in this range; lines that are cut at its ends are dropped."""
    file.seek(start)
    data = file.read(length)
    return data[data.find(b"\n") + 1 if start else 0 : data.rfind(b"\n") + 1]


def sparkline(run_events: Sequence[Event]) -> list[float]:
    """At most 24 numbers from 0 to 1: the mean reward if there is one, else the loss, in equal parts of the run."""
    steps = [event.metrics for event in of_type(run_events, StepEvent)]
    name = "reward/mean" if any("reward/mean" in metrics for metrics in steps) else "train/loss"
    values = [value for metrics in steps if (value := metrics.get(name)) is not None]
    point_count = min(SPARKLINE_POINTS, len(values))
    means = [
        _mean(values[len(values) * i // point_count : len(values) * (i + 1) // point_count]) for i in range(point_count)
    ]
    low, high = min(means, default=0), max(means, default=0)
    return [round((value - low) / (high - low), 3) if high > low else 0.5 for value in means]


def _mean(values: list[float]) -> float:
    return sum(values) / len(values)


def result_text(
    state: str,
    run_events: Sequence[Event],
    result_step: int | None = None,
    doubt: tuple[str, str] | None = None,
) -> str | None:
    """The result in a few words: “0 % → 94 %”, “stopped at 84 of 120”, “out of memory”; None while the run goes on.

    result_step: as in `eval_metrics`. doubt: (severity, title) of the run's worst diagnosis: a wrong one stands in place
    of a score, another behind it.
    """
    step = last_of_type(run_events, StepEvent)
    if state in ("stopped", "lost"):
        return f"{state} at {step.step:,} of {step.of:,}" if step else f"{state} before the first step"
    if state == "failed" and (failure := last_of_type(run_events, FailedEvent)):
        return failure.reason.replace("_", " ")
    if state != "finished":
        return None
    if doubt and doubt[0] == "wrong":
        return doubt[1]
    score = _improvement_text(run_events, result_step) or (f"{step.step:,} steps" if step else "finished")
    return f"{score}, {doubt[1]}" if doubt else score


def _improvement_text(run_events: Sequence[Event], result_step: int | None) -> str | None:
    """“0 % → 94 %”: the evaluations of the start and of the result, by the metric of `compare_evals`."""
    comparison = compare_evals(eval_metrics(run_events, result_step))
    return f"{comparison.first_text} → {comparison.last_text}" if comparison else None


@dataclass(frozen=True)
class EvalComparison:
    """One metric in the first and the last evaluation of a run. name: without `eval/`."""

    name: str
    first: float
    last: float

    @property
    def first_text(self) -> str:
        """The first value for people."""
        return format_metric(self.name, self.first)

    @property
    def last_text(self) -> str:
        """The last value for people."""
        return format_metric(self.name, self.last)


def evaluated_sets(run_events: Iterable[Event]) -> list[str]:
    """The names of all sets that a run measured, the deciding one first."""
    names = [name for event in of_type(run_events, EvalEvent) for name in event.metrics]
    deciding = eval_sets.deciding_set(names)
    return sorted(eval_sets.set_names(names), key=lambda name: name != deciding)


def evaluations_of_set(run_events: Iterable[Event], set_name: str) -> list[EvalEvent]:
    """The evaluations of one set, in order, with its metrics alone, named `eval/MEASURE` as those of the held-out rows."""
    evaluations = [
        msgspec.structs.replace(event, metrics=eval_sets.metrics_of_set(event.metrics, set_name))
        for event in of_type(run_events, EvalEvent)
    ]
    return [event for event in evaluations if event.metrics]


def deciding_evaluations(run_events: Sequence[Event]) -> list[EvalEvent]:
    """The evaluations that say which checkpoint is the best and what a run learned, without those that only probed: of the
    held-out rows, and in a run without any, of its first evaluation set."""
    return [event for name in evaluated_sets(run_events)[:1] for event in evaluations_of_set(run_events, name)]


def eval_metrics(
    run_events: Sequence[Event], result_step: int | None = None, set_name: str | None = None
) -> list[Metrics]:
    """The metrics of each evaluation, in order, up to that of the result: what came after it says nothing of the result.

    result_step: the step of the result, where it was chosen after the run; else the step that the events name. set_name:
    whose metrics; by default those that decide.
    """
    evaluations = deciding_evaluations(run_events) if set_name is None else evaluations_of_set(run_events, set_name)
    if result_step is None:
        result_step = events.saved_result_step(run_events)
    if result_step not in [event.step for event in evaluations]:  # none yet, or one that was not evaluated
        return [event.metrics for event in evaluations]
    return [event.metrics for event in evaluations if event.step <= result_step]


def compare_losses(evaluations: Sequence[Mapping[str, float | None]]) -> EvalComparison | None:
    """The loss of the first and the last of these evaluations; None where they have none."""
    return compare_evals([{"eval/loss": metrics.get("eval/loss")} for metrics in evaluations])


def compare_evals(evaluations: Sequence[Mapping[str, float | None]]) -> EvalComparison | None:
    """The first and the last of these evaluations by the first metric that is not the loss, else by the loss.

    A score that is 0 in both says nothing, as an exact match of prose: then the loss is compared where there is one.
    evaluations: the metrics of each, as in its event. None when there are fewer than two, or no metric that both have.
    """
    if len(evaluations) < 2:
        return None
    comparisons = [
        EvalComparison(name.removeprefix("eval/"), first, last)
        for name, last in evaluations[-1].items()
        if last is not None and (first := evaluations[0].get(name)) is not None
    ]
    telling = [
        comparison for comparison in comparisons if comparison.name != "loss" and (comparison.first or comparison.last)
    ]
    losses = [comparison for comparison in comparisons if comparison.name == "loss"]
    return next(iter([*telling, *losses, *comparisons]), None)


def format_metric(name: str, value: float) -> str:
    """Shares in percent, losses with two decimals, other scores with three significant digits. name: without `eval/`."""
    if name == "loss":
        return f"{value:.2f}"
    return f"{value * 100:.0f} %" if 0 <= value <= 1 else f"{value:.3g}"


def deciding_metric(metrics: Mapping[str, float | None], preferred: str = "") -> str | None:
    """The metric that decides which evaluation is the best, as in its event: the preferred one, else the first that is
    not the loss, else the loss.

    preferred: its name without `eval/`. None where the evaluation does not have it as a finite number.
    """
    names = [
        name
        for name, value in metrics.items()
        if name.startswith("eval/") and value is not None and math.isfinite(value)
    ]
    if preferred:
        return next((name for name in names if name == f"eval/{preferred}"), None)
    return next((name for name in names if name != "eval/loss"), next(iter(names), None))


def eval_score(metrics: Mapping[str, float | None], preferred: str = "") -> float | None:
    """One score of an evaluation, higher is better: its deciding metric, a loss with the other sign; None without one."""
    name = deciding_metric(metrics, preferred)
    value = metrics[name] if name else None
    return -value if value is not None and name == "eval/loss" else value
