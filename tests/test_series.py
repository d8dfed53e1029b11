"""Curves: numbers worked by hand."""

from __future__ import annotations

from app.history.series import Series, downsample, series_by_metric
from tests.support import typed_events


def step(number: int, **metrics: float | None) -> dict:
    return {"kind": "step", "step": number, "of": 9, "metrics": {f"train/{k}": v for k, v in metrics.items()}}


def test_every_metric_becomes_one_series() -> None:
    story = [
        {"kind": "state", "state": "training"},
        {"kind": "eval", "step": 0, "set": "holdout", "metrics": {"eval/loss": 3.0}},
        step(1, loss=2.0, grad_norm=1.5),
        step(2, loss=1.0),
        {"kind": "eval", "step": 2, "set": "holdout", "metrics": {"eval/loss": 1.25}},
        {"kind": "done", "why": "finished"},
    ]
    assert series_by_metric(typed_events(*story)) == {
        "eval/loss": Series("eval/loss", [0, 2], [3.0, 1.25], is_eval=True),
        "train/loss": Series("train/loss", [1, 2], [2.0, 1.0]),
        "train/grad_norm": Series("train/grad_norm", [1], [1.5]),
    }


def test_what_a_lost_attempt_did_past_the_checkpoint_vanishes() -> None:
    first = [step(1, loss=4.0), step(2, loss=3.0), step(3, loss=9.0), step(4, loss=9.0)]
    again = [{"kind": "resumed", "from_step": 2}, step(3, loss=2.0)]
    assert series_by_metric(typed_events(*first, *again))["train/loss"] == Series(
        "train/loss", [1, 2, 3], [4.0, 3.0, 2.0]
    )


def test_a_number_that_is_not_finite_is_a_gap() -> None:
    one = series_by_metric(typed_events(step(1, loss=2.0), step(2, loss=None)))["train/loss"]
    assert one.values == [2.0, None]
    assert one.latest == 2.0


def test_nothing_told_gives_nothing_to_draw() -> None:
    assert series_by_metric([]) == {}
    assert Series("train/loss", [], []).latest is None


def test_few_points_are_drawn_as_they_are() -> None:
    one = Series("train/loss", [1, 2, 3], [3.0, 1.0, 2.0])
    assert downsample(one, max_points=3) == one


def test_the_lowest_and_highest_of_each_stretch_stay_with_both_ends() -> None:
    # of 8 points 6 may stay, in at most 2 stretches: 4 steps wide, [5 1 7 2] and [3 0 4 8]
    one = Series("train/loss", list(range(8)), [5.0, 1.0, 7.0, 2.0, 3.0, 0.0, 4.0, 8.0])
    drawn = Series("train/loss", [0, 1, 2, 5, 7], [5.0, 1.0, 7.0, 0.0, 8.0], means=[3.75, 3.75, 3.75, 3.75, 3.75])
    assert downsample(one, max_points=6) == drawn


def test_stretches_begin_at_multiples_of_their_width_wherever_a_run_began() -> None:
    one = Series("train/loss", list(range(3, 11)), [5.0, 1.0, 7.0, 2.0, 3.0, 0.0, 4.0, 8.0])
    # 8 wide: steps 3 to 7 [5 1 7 2 3] and 8 to 10 [0 4 8]
    assert downsample(one, max_points=6).steps == [3, 4, 5, 8, 10]


def test_a_curve_that_grows_is_thinned_to_what_the_whole_gives() -> None:
    whole = Series("train/loss", list(range(50_000)), [float(step * 7919 % 1013) for step in range(50_000)])
    early = downsample(Series("train/loss", whole.steps[:20_000], whole.values[:20_000]))
    grown = Series("train/loss", early.steps + whole.steps[20_000:], early.values + whole.values[20_000:])
    assert [downsample(grown).steps, downsample(grown).values] == [downsample(whole).steps, downsample(whole).values]


def test_a_single_spike_in_a_million_steps_is_drawn() -> None:
    values: list[float | None] = [1.0] * 1_000_000
    values[123_456], values[654_321] = 50.0, -50.0
    drawn = downsample(Series("train/loss", list(range(1_000_000)), values))
    assert len(drawn.steps) <= 2_000
    assert (drawn.steps[0], drawn.steps[-1]) == (0, 999_999)
    assert drawn.values[drawn.steps.index(123_456)] == 50.0
    assert drawn.values[drawn.steps.index(654_321)] == -50.0
    assert drawn.steps == sorted(set(drawn.steps))


def test_a_stretch_of_gaps_stays_a_gap() -> None:
    one = Series("train/loss", list(range(8)), [1.0, None, 2.0, 3.0, None, None, None, None])
    assert downsample(one, max_points=6) == Series("train/loss", [0, 3, 4, 7], [1.0, 3.0, None, None], means=[2.0, 2.0, None, None])  # fmt: skip


def test_a_step_that_is_told_twice_counts_once() -> None:
    tests = [{"kind": "eval", "step": 4, "set": "holdout", "metrics": {"eval/loss": loss}} for loss in (2.0, 1.0)]
    assert series_by_metric(typed_events(*tests)) == {"eval/loss": Series("eval/loss", [4], [1.0], is_eval=True)}
