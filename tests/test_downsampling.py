"""Downsampling: an incrementally downsampled series equals the downsampled complete series, also after a rewind or a reload."""

from __future__ import annotations

import random

import msgspec
import pytest

from app.history.downsampling import NEWEST_POINTS, DownsampledSeries, RewindTooFar, SavedSeries
from app.history.series import MAX_POINTS, Series, bucket_width, downsample

POINT_COUNT = 60_000


def random_series(seed: int, count: int = POINT_COUNT) -> tuple[list[int], list[float | None]]:
    """Steps and values with irregular step distances (odd seeds), repeated values, single and long gaps, and one spike up and one down."""
    rng = random.Random(seed)
    steps, values, step = [], [], rng.randrange(2_000)
    for index in range(count):
        step += rng.choice((1, 1, 1, 2, 40)) if seed % 2 else 1
        steps.append(step)
        is_gap = rng.random() < 0.01 or 20_000 < index < 26_000
        values.append(None if is_gap else rng.randrange(50) / 10)
    values[count // 3 - 1], values[count // 4] = 900.0, -900.0
    return steps, values


def downsampled_in_chunks(steps: list[int], values: list[float | None], seed: int = 0) -> DownsampledSeries:
    """A DownsampledSeries that is extended in chunks of random sizes."""
    series, rng, begin = DownsampledSeries(False), random.Random(seed), 0
    while begin < len(steps):
        end = begin + rng.choice((1, 7, 130, 5_000, 20_000))
        series.extend(steps[begin:end], values[begin:end])
        begin = end
    return series


def assert_equals_batch_downsampling(series: DownsampledSeries, steps: list[int], values: list[float | None]) -> None:
    actual, expected = series.to_series("train/loss"), downsample(Series("train/loss", steps, values))
    assert (actual.steps, actual.values) == (expected.steps, expected.values)
    assert rounded(actual.means) == rounded(expected.means)


def rounded(means: list[float | None] | None) -> list[float | None]:
    """Rounded to nine decimals, because the two ways to sum differ in the digits after those."""
    return [None if mean is None else round(mean, 9) for mean in means or []]


@pytest.mark.parametrize("seed", range(6))
def test_a_long_series_equals_its_batch_downsampling_and_keeps_spikes(seed: int) -> None:
    steps, values = random_series(seed)
    series = downsampled_in_chunks(steps, values, seed)
    assert_equals_batch_downsampling(series, steps, values)
    assert {900.0, -900.0} <= {*series.to_series("train/loss").values}


@pytest.mark.parametrize(
    "count",
    [1, 2, MAX_POINTS, MAX_POINTS + 1, NEWEST_POINTS, 2 * NEWEST_POINTS, 2 * NEWEST_POINTS + 1, 2 * NEWEST_POINTS + 2],
)
def test_a_series_of_any_length_equals_its_batch_downsampling(count: int) -> None:
    steps, values = random_series(0, POINT_COUNT)
    assert_equals_batch_downsampling(
        downsampled_in_chunks(steps[:count], values[:count]), steps[:count], values[:count]
    )


@pytest.mark.parametrize("seed", range(4))
def test_a_truncated_and_extended_series_equals_its_batch_downsampling(seed: int) -> None:
    """Also when none of the newest points, which are stored at full resolution, are left."""
    steps, values = random_series(seed)
    for newest_points_left in (NEWEST_POINTS - 1, 3_000, 1, 0):
        series = downsampled_in_chunks(steps, values, seed)
        kept_count = len(steps) - len(series.steps) + newest_points_left
        series.truncate(steps[kept_count - 1])
        assert_equals_batch_downsampling(series, steps[:kept_count], values[:kept_count])
        series.extend(steps[kept_count:], values[kept_count:])
        assert_equals_batch_downsampling(series, steps, values)


def test_truncating_to_a_length_with_narrower_buckets_uses_the_narrower_buckets() -> None:
    steps, values = [*range(46_000)], [float(step * 7919 % 1013) for step in range(46_000)]
    series = downsampled_in_chunks(steps, values)
    narrow_length = next(
        length
        for length in range(46_000, 0, -1)
        if bucket_width(0, length - 1, MAX_POINTS) < bucket_width(0, 45_999, MAX_POINTS)
    )
    assert series.last_bucketed_point[0] < narrow_length, (
        "the length at which the bucket width grows must be among the newest points"
    )
    series.truncate(narrow_length - 1)
    assert_equals_batch_downsampling(series, steps[:narrow_length], values[:narrow_length])


def test_truncating_before_the_last_bucketed_point_raises_rewind_too_far() -> None:
    series = downsampled_in_chunks(*random_series(0))
    series.truncate(series.last_bucketed_point[0])
    with pytest.raises(RewindTooFar) as error:
        series.truncate(series.last_bucketed_point[0] - 1)
    assert error.value.last_step == series.last_bucketed_point[0] - 1


def test_a_million_points_are_saved_in_less_than_300_kb() -> None:
    series = downsampled_in_chunks([*range(1_000_000)], [1.0] * 1_000_000)
    assert len(series.steps) <= 2 * NEWEST_POINTS
    assert len(series.buckets) <= MAX_POINTS
    assert len(msgspec.json.encode(series.to_saved())) < 300_000


@pytest.mark.parametrize("count", [1, 9_000, 21_000, POINT_COUNT])
def test_a_saved_series_can_be_loaded_and_extended(count: int) -> None:
    steps, values = random_series(1)
    saved_json = msgspec.json.encode(downsampled_in_chunks(steps[:count], values[:count]).to_saved())
    series = DownsampledSeries.from_saved(msgspec.json.decode(saved_json, type=SavedSeries))
    assert_equals_batch_downsampling(series, steps[:count], values[:count])
    series.extend(steps[count:] or [steps[-1]], values[count:] or [values[-1]])
    assert_equals_batch_downsampling(series, steps, values)
