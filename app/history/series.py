"""Metric series: events in, one series of points per metric out, and downsampling for charts."""

from __future__ import annotations

import math
from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from app.runs.events import EvalEvent, Event, ResumedEvent, StepEvent

MAX_POINTS = 2_000  # of one drawn series; more than a screen has columns
# Share of MAX_POINTS that is used for buckets. A bucket is drawn as two points; the rest is room to grow until the page
# downsamples again.
_BUCKET_SHARE = 0.35


@dataclass(frozen=True)
class Series:
    """One metric over steps, ready to draw. A value of None was not finite: a gap. is_eval: measured by evaluations.

    means: where a series is downsampled, the mean of each point's bucket; smoothing uses these.
    """

    name: str
    steps: list[int]
    values: list[float | None]
    is_eval: bool = False
    means: list[float | None] | None = None

    @property
    def latest(self) -> float | None:
        """The last finite value."""
        return next((value for value in reversed(self.values) if value is not None), None)

    def until(self, step: int) -> Series:
        """The series without its points after a step."""
        count = bisect_right(self.steps, step)
        means = self.means[:count] if self.means else None
        return Series(self.name, self.steps[:count], self.values[:count], self.is_eval, means)


class MetricSeries:
    """One metric as it grows, in memory: 16 bytes a point, NaN for a gap."""

    def __init__(self, is_eval: bool):
        self.steps, self.values, self.is_eval = array("q"), array("d"), is_eval

    def extend(self, steps: list[int], values: list[float | None]) -> None:
        """Adds points, in rising order of steps. They replace points from the first of these steps on."""
        self.truncate(steps[0] - 1)
        self.steps.fromlist(steps)
        self.values.fromlist([math.nan if value is None else value for value in values])

    def truncate(self, last_step: int) -> None:
        """Drops the points past `last_step`."""
        if self.steps and self.steps[-1] > last_step:
            kept_count = bisect_right(self.steps, last_step)
            del self.steps[kept_count:], self.values[kept_count:]

    def to_series(self, name: str) -> Series:
        """The series to draw, under this name."""
        values = [None if math.isnan(value) else value for value in self.values]
        return Series(name, list(self.steps), values, self.is_eval)


_SeriesT = TypeVar("_SeriesT", bound=MetricSeries)


class MetricHistory(Generic[_SeriesT]):
    """All metrics as they grow, in order of first appearance. A resumed attempt truncates them to where it started."""

    def __init__(self, series_class: type[_SeriesT]) -> None:
        self.series_class = series_class
        self.by_name: dict[str, _SeriesT] = {}

    def add(self, event: Event) -> None:
        """Adds the metrics of a step or eval event, or truncates at a resumed event."""
        if isinstance(event, ResumedEvent):
            for metric_series in self.by_name.values():
                metric_series.truncate(event.from_step)
        elif isinstance(event, StepEvent | EvalEvent):
            columns = {name: [value] for name, value in event.metrics.items()}
            self.extend([event.step], columns, isinstance(event, EvalEvent))

    def extend(self, steps: list[int], columns: Mapping[str, list[float | None]], is_eval: bool = False) -> None:
        """Adds many points at once: steps in rising order, and each metric's values at these steps."""
        for name, values in columns.items():
            if name not in self.by_name:
                self.by_name[name] = self.series_class(is_eval)
            self.by_name[name].extend(steps, values)

    def all_series(self) -> Iterator[Series]:
        """The series of every metric that has points."""
        all_series = (metric_series.to_series(name) for name, metric_series in self.by_name.items())
        return (series for series in all_series if series.steps)


def series_by_metric(events: Iterable[Event]) -> dict[str, Series]:
    """{metric: its series}, in order of first appearance. Steps that a resumed attempt repeats count once."""
    history = MetricHistory(MetricSeries)
    for event in events:
        history.add(event)
    return {series.name: series for series in history.all_series()}


def downsample(series: Series, max_points: int = MAX_POINTS) -> Series:
    """At most `max_points` points that keep every spike: the lowest and highest of each bucket, and both ends.

    Buckets are a power of two steps wide and start at its multiples. So downsampling a series that was downsampled
    before, as the page does while it grows (components/metric_series.js), gives the same as downsampling the complete
    series.
    """
    if len(series.steps) <= max_points:
        return series
    kept_indices: list[int] = []
    means: list[float | None] = []
    width = bucket_width(series.steps[0], series.steps[-1], max_points)
    for start, end in bucket_ranges(series.steps, width):
        extreme_indices, mean = bucket_extremes(series.values, start, end)
        end_indices = {index for index in (0, len(series.steps) - 1) if start <= index < end}
        bucket_indices = sorted({*extreme_indices, *end_indices})
        kept_indices += bucket_indices
        means += [mean] * len(bucket_indices)
    steps = [series.steps[index] for index in kept_indices]
    values = [series.values[index] for index in kept_indices]
    return Series(series.name, steps, values, series.is_eval, means)


def bucket_width(first_step: int, last_step: int, max_points: int) -> int:
    """The smallest power of two, in steps, that gives few enough buckets."""
    width = 1
    while last_step // width - first_step // width + 1 > max_points * _BUCKET_SHARE:
        width *= 2
    return width


def bucket_ranges(steps: Sequence[int], width: int) -> Iterator[tuple[int, int]]:
    """Index ranges [start, end) of the buckets that hold a point."""
    start = 0
    while start < len(steps):
        end = bisect_left(steps, (steps[start] // width + 1) * width, start)
        yield start, end
        start = end


def bucket_extremes(values: list[float | None], start: int, end: int) -> tuple[list[int], float | None]:
    """Indices of the lowest and highest value in [start, end), and the mean.

    A bucket of gaps only keeps its first gap.
    """
    bucket_values = values[start:end]
    finite_values = [value for value in bucket_values if value is not None]
    if not finite_values:
        return [start], None
    low_index = start + bucket_values.index(min(finite_values))
    high_index = start + bucket_values.index(max(finite_values))
    return [low_index, high_index], sum(finite_values) / len(finite_values)
