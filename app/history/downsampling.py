"""Downsampling of a metric series while it grows: the newest points stay exact, older ones are merged into buckets."""

from __future__ import annotations

import math
from array import array
from collections.abc import Iterable, Iterator
from typing import NamedTuple

import msgspec

from app.history.series import (
    MAX_POINTS,
    MetricSeries,
    Series,
    bucket_extremes,
    bucket_ranges,
    bucket_width,
    downsample,
)

NEWEST_POINTS = 5_000  # that stay exact at least; older ones are merged when there are twice as many


class RewindTooFar(Exception):
    """A series was to be truncated to `last_step`, before its exact points: the events have to be read again."""

    def __init__(self, last_step: int):
        super().__init__(last_step)
        self.last_step = last_step


class Bucket(NamedTuple):
    """The lowest and highest of `value_count` values with their steps, and the mean.

    All three values are None in a bucket of gaps.
    """

    low_step: int
    low: float | None
    high_step: int
    high: float | None
    mean: float | None
    value_count: int


class SavedSeries(msgspec.Struct, frozen=True):
    """A DownsampledSeries in the cache, None for a gap. Points are (step, value)."""

    is_eval: bool
    steps: list[int]
    values: list[float | None]
    buckets: list[Bucket]
    first_point: tuple[int, float | None] | None
    last_bucketed_point: tuple[int, float | None] | None


class DownsampledSeries(MetricSeries):
    """A MetricSeries in constant memory. Its `to_series` gives the same as `downsample` of all points."""

    def __init__(self, is_eval: bool):
        super().__init__(is_eval)
        self.buckets: list[Bucket] = []
        self._first_point: tuple[int, float] | None = None  # (step, value) of the first point in a bucket
        self.last_bucketed_point: tuple[int, float] | None = None  # of the last point in a bucket

    def extend(self, steps: list[int], values: list[float | None]) -> None:
        super().extend(steps, values)
        if len(self.steps) > 2 * NEWEST_POINTS:
            self._compact()

    def truncate(self, last_step: int) -> None:
        """Drops the points past `last_step`. Raises RewindTooFar when they are in buckets."""
        if self.last_bucketed_point and last_step < self.last_bucketed_point[0]:
            raise RewindTooFar(last_step)
        super().truncate(last_step)

    def to_series(self, name: str) -> Series:
        if not self.buckets:
            return downsample(super().to_series(name))
        last_point = (self.steps[-1], self.values[-1]) if self.steps else self.last_bucketed_point
        assert self._first_point is not None, "set with the first bucket"
        assert last_point is not None, "set with the first bucket"
        width = bucket_width(self._first_point[0], last_point[0], MAX_POINTS)
        steps: list[int] = []
        values: list[float | None] = []
        means: list[float | None] = []
        for bucket in _merge_adjacent([*self.buckets, *_to_buckets(self.steps, self.values, width)], width):
            end_points = {
                step: _nan_to_none(value)
                for step, value in (self._first_point, last_point)
                if step // width == bucket.low_step // width
            }
            points = end_points | {bucket.low_step: bucket.low, bucket.high_step: bucket.high}
            steps += sorted(points)
            values += [points[step] for step in sorted(points)]
            means += [bucket.mean] * len(points)
        return Series(name, steps, values, self.is_eval, means)

    def to_saved(self) -> SavedSeries:
        """All of it, for the cache."""
        return SavedSeries(
            self.is_eval,
            self.steps.tolist(),
            [*map(_nan_to_none, self.values)],
            self.buckets,
            _point_to_saved(self._first_point),
            _point_to_saved(self.last_bucketed_point),
        )

    @classmethod
    def from_saved(cls, saved: SavedSeries) -> DownsampledSeries:
        """The series that `to_saved` was called on."""
        series = cls(saved.is_eval)
        series.steps = array("q", saved.steps)
        series.values = array("d", map(_none_to_nan, saved.values))
        series.buckets = saved.buckets
        series._first_point = _point_from_saved(saved.first_point)
        series.last_bucketed_point = _point_from_saved(saved.last_bucketed_point)
        return series

    def _compact(self) -> None:
        """Merges all but the newest points into buckets.

        No bucket is wider than the series needs up to its last merged point, because it may be truncated back to there.
        """
        end = len(self.steps) - NEWEST_POINTS
        self._first_point = self._first_point or (self.steps[0], self.values[0])
        self.last_bucketed_point = self.steps[end - 1], self.values[end - 1]
        width = bucket_width(self._first_point[0], self.last_bucketed_point[0], MAX_POINTS)
        new_buckets = _to_buckets(self.steps[:end], self.values[:end], width)
        self.buckets = _merge_adjacent([*self.buckets, *new_buckets], width)
        del self.steps[:end], self.values[:end]


def _to_buckets(steps: array[int], values: array[float], width: int) -> Iterator[Bucket]:
    """The buckets of these points, each `width` steps wide."""
    numbers: list[float | None] = [*map(_nan_to_none, values)] if math.isnan(sum(values)) else [*values]
    for start, end in bucket_ranges(steps, width):
        extreme_indices, mean = bucket_extremes(numbers, start, end)
        low_index, high_index = extreme_indices[0], extreme_indices[-1]
        count = end - start - numbers[start:end].count(None)
        yield Bucket(steps[low_index], numbers[low_index], steps[high_index], numbers[high_index], mean, count)


def _merge_adjacent(buckets: Iterable[Bucket], width: int) -> list[Bucket]:
    """Buckets in order, those within the same `width` steps merged into one."""
    merged: list[Bucket] = []
    for bucket in buckets:
        if merged and merged[-1].low_step // width == bucket.low_step // width:
            merged[-1] = _merge_pair(merged[-1], bucket)
        else:
            merged.append(bucket)
    return merged


def _merge_pair(first: Bucket, second: Bucket) -> Bucket:
    """Both as one bucket; of equal values the earlier counts."""
    if second.low is None or second.high is None or second.mean is None:
        return first
    if first.low is None or first.high is None or first.mean is None:
        return second
    low, high = first if first.low <= second.low else second, first if first.high >= second.high else second
    value_count = first.value_count + second.value_count
    mean = (first.mean * first.value_count + second.mean * second.value_count) / value_count
    return Bucket(low.low_step, low.low, high.high_step, high.high, mean, value_count)


def _nan_to_none(value: float) -> float | None:
    return None if math.isnan(value) else value


def _none_to_nan(value: float | None) -> float:
    return math.nan if value is None else value


def _point_to_saved(point: tuple[int, float] | None) -> tuple[int, float | None] | None:
    return (point[0], _nan_to_none(point[1])) if point else None


def _point_from_saved(point: tuple[int, float | None] | None) -> tuple[int, float] | None:
    return (point[0], _none_to_nan(point[1])) if point else None
