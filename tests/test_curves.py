"""Curves: numbers worked by hand."""

from __future__ import annotations

from app.curves import Series, series, thinned


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
    assert series(story) == {
        "eval/loss": Series("eval/loss", [0, 2], [3.0, 1.25], tested=True),
        "train/loss": Series("train/loss", [1, 2], [2.0, 1.0]),
        "train/grad_norm": Series("train/grad_norm", [1], [1.5]),
    }


def test_what_a_lost_attempt_did_past_the_checkpoint_vanishes() -> None:
    first = [step(1, loss=4.0), step(2, loss=3.0), step(3, loss=9.0), step(4, loss=9.0)]
    again = [{"kind": "resumed", "from_step": 2}, step(3, loss=2.0)]
    assert series(first + again)["train/loss"] == Series("train/loss", [1, 2, 3], [4.0, 3.0, 2.0])


def test_a_number_that_is_not_finite_is_a_gap() -> None:
    one = series([step(1, loss=2.0), step(2, loss=None)])["train/loss"]
    assert one.values == [2.0, None]
    assert one.latest == 2.0


def test_nothing_told_gives_nothing_to_draw() -> None:
    assert series([]) == {}
    assert Series("train/loss", [], []).latest is None


def test_few_points_are_drawn_as_they_are() -> None:
    one = Series("train/loss", [1, 2, 3], [3.0, 1.0, 2.0])
    assert thinned(one, most=3) == one


def test_the_lowest_and_highest_of_each_stretch_stay_with_both_ends() -> None:
    # ends 5 and 8; between them two stretches, [1 7 2] and [3 0 4]
    one = Series("train/loss", list(range(8)), [5.0, 1.0, 7.0, 2.0, 3.0, 0.0, 4.0, 8.0])
    assert thinned(one, most=6) == Series("train/loss", [0, 1, 2, 5, 6, 7], [5.0, 1.0, 7.0, 0.0, 4.0, 8.0])


def test_a_single_spike_in_a_million_steps_is_drawn() -> None:
    values: list[float | None] = [1.0] * 1_000_000
    values[123_456], values[654_321] = 50.0, -50.0
    drawn = thinned(Series("train/loss", list(range(1_000_000)), values))
    assert len(drawn.steps) <= 2_000
    assert (drawn.steps[0], drawn.steps[-1]) == (0, 999_999)
    assert drawn.values[drawn.steps.index(123_456)] == 50.0
    assert drawn.values[drawn.steps.index(654_321)] == -50.0
    assert drawn.steps == sorted(set(drawn.steps))


def test_a_stretch_of_gaps_stays_a_gap() -> None:
    one = Series("train/loss", list(range(8)), [1.0, None, None, None, 3.0, 2.0, 4.0, 8.0])
    assert thinned(one, most=6).values == [1.0, None, 2.0, 4.0, 8.0]
