"""Guard: what happens when a reward cannot score, from one answer to all of them."""

from __future__ import annotations

from typing import Any

import pytest

from app.core.problems import Problem
from app.engine.reward_runtime.error_policy import MIN_CERTAIN_FAILURES, WINDOW, RewardErrorPolicy
from app.engine.reward_runtime.reward import PerRowReward


def shaky(completion: str) -> float | None:
    """An answer is the number it says; `break` breaks, `skip` does not apply."""
    if completion == "break":
        raise RuntimeError("it broke")
    return None if completion == "skip" else float(completion)


def guard(**more: Any) -> RewardErrorPolicy:
    return RewardErrorPolicy(PerRowReward(shaky), "shaky", **more)


def test_a_failed_answer_has_no_score_and_is_marked() -> None:
    one = guard()
    assert one(completions=["1", "break", "skip", "nan"]) == [1.0, None, None, None]
    assert one.failed == [False, True, False, True], "what does not apply did not fail; what is no number did"


def test_each_reason_is_told_once() -> None:
    told: list[str] = []
    one = guard(warn=told.append)
    one(completions=["break", "1", "break"])
    one(completions=["break", "1", "2", "3"])
    assert told == [
        "The reward “shaky” could not score an answer (RuntimeError: it broke). Such answers are left out and counted."
    ]


def test_the_share_that_failed_is_a_curve() -> None:
    logged: dict[str, float] = {}
    guard()(completions=["break", "1", "2", "3"], log_metric=logged.__setitem__)
    assert logged == {"reward/shaky/failed": 0.25}


def test_a_reward_that_mostly_fails_stops_the_run() -> None:
    one = guard()
    one(completions=["break", "1"] * (WINDOW // 2))
    with pytest.raises(Problem, match=r"failed on 33 of the last 64 answers \(RuntimeError: it broke\)") as refusal:
        one(completions=["break", "break"])
    assert refusal.value.reason == "reward_failed"


def test_a_reward_that_never_works_stops_even_a_short_run() -> None:
    one = guard()
    one(completions=["break"] * (MIN_CERTAIN_FAILURES - 1))
    with pytest.raises(Problem, match="failed on 16 of the last 16 answers"):
        one(completions=["break"])


def test_a_test_or_a_trial_goes_on_and_shows_what_there_is() -> None:
    told: list[str] = []
    assert guard(warn=told.append, stops_run=False)(completions=["break"] * 2 * WINDOW) == [None] * 2 * WINDOW
    assert len(told) == 1


def test_a_reward_that_works_now_and_then_is_given_time() -> None:
    guard()(completions=["1"] + ["break"] * (WINDOW - 2))


def test_a_reward_that_gives_too_few_scores_stops_the_run() -> None:
    def lazy(completions: list[str], **columns: Any) -> list[float]:
        return [1.0]

    lazy.columns = ()
    with pytest.raises(Problem, match="gave 1 scores for 2 answers"):
        RewardErrorPolicy(lazy, "lazy")(completions=["a", "b"])
