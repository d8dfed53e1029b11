"""Metric series and their downsampling; the expected numbers are worked by hand."""

from __future__ import annotations

from app.history.series import Series, downsample, series_by_metric
from tests.support import typed_events


def step_event(step_number: int, **metrics: float | None) -> dict:
    return {
        "kind": "step",
        "step": step_number,
        "of": 9,
        "metrics": {f"train/{name}": metric for name, metric in metrics.items()},
    }


def test_every_metric_becomes_one_series() -> None:
    events = [
        {"kind": "state", "state": "training"},
        {"kind": "eval", "step": 0, "set": "holdout", "metrics": {"eval/loss": 3.0}},
        step_event(1, loss=2.0, grad_norm=1.5),
        step_event(2, loss=1.0),
        {"kind": "eval", "step": 2, "set": "holdout", "metrics": {"eval/loss": 1.25}},
        {"kind": "done", "why": "finished"},
    ]
    assert series_by_metric(typed_events(*events)) == {
        "eval/loss": Series("eval/loss", [0, 2], [3.0, 1.25], is_eval=True),
        "train/loss": Series("train/loss", [1, 2], [2.0, 1.0]),
        "train/grad_norm": Series("train/grad_norm", [1], [1.5]),
    }


def test_steps_of_a_lost_attempt_past_the_checkpoint_are_dropped() -> None:
    first_attempt = [step_event(1, loss=4.0), step_event(2, loss=3.0), step_event(3, loss=9.0), step_event(4, loss=9.0)]
    second_attempt = [{"kind": "resumed", "from_step": 2}, step_event(3, loss=2.0)]
    assert series_by_metric(typed_events(*first_attempt, *second_attempt))["train/loss"] == Series(
        "train/loss", [1, 2, 3], [4.0, 3.0, 2.0]
    )


def test_a_number_that_is_not_finite_is_a_gap() -> None:
    loss_series = series_by_metric(typed_events(step_event(1, loss=2.0), step_event(2, loss=None)))["train/loss"]
    assert loss_series.values == [2.0, None]
    assert loss_series.latest == 2.0


def test_no_events_give_no_series_and_an_empty_series_has_no_latest_number() -> None:
    assert series_by_metric([]) == {}
    assert Series("train/loss", [], []).latest is None


def test_a_series_with_few_points_is_not_downsampled() -> None:
    loss_series = Series("train/loss", [1, 2, 3], [3.0, 1.0, 2.0])
    assert downsample(loss_series, max_points=3) == loss_series


def test_downsampling_keeps_both_ends_and_the_minimum_and_maximum_of_each_bin() -> None:
    # 6 of the 8 points may stay, so there are at most 2 bins, 4 steps wide: [5 1 7 2] and [3 0 4 8]
    loss_series = Series("train/loss", list(range(8)), [5.0, 1.0, 7.0, 2.0, 3.0, 0.0, 4.0, 8.0])
    expected = Series("train/loss", [0, 1, 2, 5, 7], [5.0, 1.0, 7.0, 0.0, 8.0], means=[3.75, 3.75, 3.75, 3.75, 3.75])
    assert downsample(loss_series, max_points=6) == expected


def test_bins_begin_at_multiples_of_their_width_whatever_the_first_step() -> None:
    loss_series = Series("train/loss", list(range(3, 11)), [5.0, 1.0, 7.0, 2.0, 3.0, 0.0, 4.0, 8.0])
    # bins 8 steps wide: steps 3 to 7 [5 1 7 2 3] and 8 to 10 [0 4 8]
    assert downsample(loss_series, max_points=6).steps == [3, 4, 5, 8, 10]


def test_downsampling_an_extended_downsampled_series_equals_downsampling_the_full_series() -> None:
    full_series = Series("train/loss", list(range(50_000)), [float(step * 7919 % 1013) for step in range(50_000)])
    downsampled_start = downsample(Series("train/loss", full_series.steps[:20_000], full_series.values[:20_000]))
    extended_series = Series(
        "train/loss",
        downsampled_start.steps + full_series.steps[20_000:],
        downsampled_start.values + full_series.values[20_000:],
    )
    assert [downsample(extended_series).steps, downsample(extended_series).values] == [
        downsample(full_series).steps,
        downsample(full_series).values,
    ]


def test_single_spikes_in_a_million_steps_are_kept() -> None:
    losses: list[float | None] = [1.0] * 1_000_000
    losses[123_456], losses[654_321] = 50.0, -50.0
    downsampled = downsample(Series("train/loss", list(range(1_000_000)), losses))
    assert len(downsampled.steps) <= 2_000
    assert (downsampled.steps[0], downsampled.steps[-1]) == (0, 999_999)
    assert downsampled.values[downsampled.steps.index(123_456)] == 50.0
    assert downsampled.values[downsampled.steps.index(654_321)] == -50.0
    assert downsampled.steps == sorted(set(downsampled.steps))


def test_a_bin_without_numbers_stays_a_gap() -> None:
    loss_series = Series("train/loss", list(range(8)), [1.0, None, 2.0, 3.0, None, None, None, None])
    assert downsample(loss_series, max_points=6) == Series("train/loss", [0, 3, 4, 7], [1.0, 3.0, None, None], means=[2.0, 2.0, None, None])  # fmt: skip


def test_a_repeated_step_counts_once() -> None:
    eval_events = [{"kind": "eval", "step": 4, "set": "holdout", "metrics": {"eval/loss": loss}} for loss in (2.0, 1.0)]
    assert series_by_metric(typed_events(*eval_events)) == {"eval/loss": Series("eval/loss", [4], [1.0], is_eval=True)}
