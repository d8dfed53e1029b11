"""Folded: whatever a curve went through, it is drawn as the whole curve would be."""

from __future__ import annotations

import random

import msgspec
import pytest

from app.history.downsampling import NEWEST_POINTS, DownsampledSeries, RewindTooFar, SavedSeries
from app.history.series import MAX_POINTS, Series, bucket_width, downsample

COUNT = 60_000


def whole(seed: int, count: int = COUNT) -> tuple[list[int], list[float | None]]:
    """Steps now and then apart, numbers that repeat, gaps alone and in rows, and one spike of each sort."""
    chance = random.Random(seed)
    steps, values, step = [], [], chance.randrange(2_000)
    for place in range(count):
        step += chance.choice((1, 1, 1, 2, 40)) if seed % 2 else 1
        steps.append(step)
        gap = chance.random() < 0.01 or 20_000 < place < 26_000
        values.append(None if gap else chance.randrange(50) / 10)
    values[count // 3 - 1], values[count // 4] = 900.0, -900.0
    return steps, values


def grown(steps: list[int], values: list[float | None], seed: int = 0) -> DownsampledSeries:
    """Told in parts of any size."""
    track, chance, first = DownsampledSeries(False), random.Random(seed), 0
    while first < len(steps):
        end = first + chance.choice((1, 7, 130, 5_000, 20_000))
        track.extend(steps[first:end], values[first:end])
        first = end
    return track


def same(track: DownsampledSeries, steps: list[int], values: list[float | None]) -> None:
    drawn, expected = track.to_series("train/loss"), downsample(Series("train/loss", steps, values))
    assert (drawn.steps, drawn.values) == (expected.steps, expected.values)
    assert rounded(drawn.means) == rounded(expected.means)


def rounded(means: list[float | None] | None) -> list[float | None]:
    """As many digits as two ways to add up agree in."""
    return [None if mean is None else round(mean, 9) for mean in means or []]


@pytest.mark.parametrize("seed", range(6))
def test_a_long_curve_is_drawn_as_the_whole_would_be(seed: int) -> None:
    steps, values = whole(seed)
    track = grown(steps, values, seed)
    same(track, steps, values)
    assert {900.0, -900.0} <= {*track.to_series("train/loss").values}


@pytest.mark.parametrize(
    "count",
    [1, 2, MAX_POINTS, MAX_POINTS + 1, NEWEST_POINTS, 2 * NEWEST_POINTS, 2 * NEWEST_POINTS + 1, 2 * NEWEST_POINTS + 2],
)
def test_a_curve_of_any_length_is_drawn_as_the_whole_would_be(count: int) -> None:
    steps, values = whole(0, COUNT)
    same(grown(steps[:count], values[:count]), steps[:count], values[:count])


@pytest.mark.parametrize("seed", range(4))
def test_a_curve_that_goes_back_is_drawn_as_if_it_had_never_gone_on(seed: int) -> None:
    """Also with none of the newest points left."""
    steps, values = whole(seed)
    for left in (NEWEST_POINTS - 1, 3_000, 1, 0):
        track = grown(steps, values, seed)
        kept = len(steps) - len(track.steps) + left
        track.truncate(steps[kept - 1])
        same(track, steps[:kept], values[:kept])
        track.extend(steps[kept:], values[kept:])
        same(track, steps, values)


def test_a_curve_that_goes_back_to_where_stretches_were_narrower_is_drawn_with_those() -> None:
    steps, values = [*range(46_000)], [float(step * 7919 % 1013) for step in range(46_000)]
    track = grown(steps, values)
    narrow = next(
        end
        for end in range(46_000, 0, -1)
        if bucket_width(0, end - 1, MAX_POINTS) < bucket_width(0, 45_999, MAX_POINTS)
    )
    assert track.last_bucketed_point[0] < narrow, "the length at which they grow wider lies among the newest points"
    track.truncate(narrow - 1)
    same(track, steps[:narrow], values[:narrow])


def test_a_curve_that_goes_back_further_says_so() -> None:
    track = grown(*whole(0))
    track.truncate(track.last_bucketed_point[0])
    with pytest.raises(RewindTooFar) as deep:
        track.truncate(track.last_bucketed_point[0] - 1)
    assert deep.value.last_step == track.last_bucketed_point[0] - 1


def test_a_long_curve_takes_little_space() -> None:
    track = grown([*range(1_000_000)], [1.0] * 1_000_000)
    assert len(track.steps) <= 2 * NEWEST_POINTS
    assert len(track.buckets) <= MAX_POINTS
    assert len(msgspec.json.encode(track.to_saved())) < 300_000


@pytest.mark.parametrize("count", [1, 9_000, 21_000, COUNT])
def test_a_curve_that_was_kept_goes_on_where_it_was(count: int) -> None:
    steps, values = whole(1)
    kept = msgspec.json.encode(grown(steps[:count], values[:count]).to_saved())
    track = DownsampledSeries.from_saved(msgspec.json.decode(kept, type=SavedSeries))
    same(track, steps[:count], values[:count])
    track.extend(steps[count:] or [steps[-1]], values[count:] or [values[-1]])
    same(track, steps, values)
