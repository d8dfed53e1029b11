"""The error policy of rewards: one failed completion is skipped and counted, too many failures stop the run."""

from __future__ import annotations

from typing import Any

import pytest

from app.core.problems import Problem
from app.engine.reward_runtime.error_policy import MIN_CERTAIN_FAILURES, WINDOW, RewardErrorPolicy
from app.engine.reward_runtime.reward import PerRowReward


def number_reward(completion: str) -> float | None:
    """The score is the number in the completion; `break` raises an error, `skip` means not applicable."""
    if completion == "break":
        raise RuntimeError("it broke")
    return None if completion == "skip" else float(completion)


def build_policy(**options: Any) -> RewardErrorPolicy:
    return RewardErrorPolicy(PerRowReward(number_reward), "shaky", **options)


def test_a_failed_completion_has_no_score_and_is_marked() -> None:
    policy = build_policy()
    assert policy(completions=["1", "break", "skip", "nan"]) == [1.0, None, None, None]
    assert policy.failed == [False, True, False, True], "not applicable is no failure, NaN is one"


def test_each_failure_reason_is_warned_about_once() -> None:
    warnings: list[str] = []
    policy = build_policy(warn=warnings.append)
    policy(completions=["break", "1", "break"])
    policy(completions=["break", "1", "2", "3"])
    assert warnings == [
        "The reward “shaky” could not score an answer (RuntimeError: it broke). Such answers are left out and counted."
    ]


def test_the_share_of_failures_is_logged_as_a_metric() -> None:
    logged_metrics: dict[str, float] = {}
    build_policy()(completions=["break", "1", "2", "3"], log_metric=logged_metrics.__setitem__)
    assert logged_metrics == {"reward/shaky/failed": 0.25}


def test_a_reward_that_mostly_fails_stops_the_run() -> None:
    policy = build_policy()
    policy(completions=["break", "1"] * (WINDOW // 2))
    with pytest.raises(Problem, match=r"failed on 33 of the last 64 answers \(RuntimeError: it broke\)") as raised:
        policy(completions=["break", "break"])
    assert raised.value.reason == "reward_failed"


def test_a_reward_that_always_fails_stops_the_run_after_few_completions() -> None:
    policy = build_policy()
    policy(completions=["break"] * (MIN_CERTAIN_FAILURES - 1))
    with pytest.raises(Problem, match="failed on 16 of the last 16 answers"):
        policy(completions=["break"])


def test_an_evaluation_or_dry_run_continues_when_every_completion_fails() -> None:
    warnings: list[str] = []
    assert (
        build_policy(warn=warnings.append, stops_run=False)(completions=["break"] * 2 * WINDOW) == [None] * 2 * WINDOW
    )
    assert len(warnings) == 1


def test_a_reward_that_sometimes_works_is_not_stopped_before_the_window_is_full() -> None:
    build_policy()(completions=["1"] + ["break"] * (WINDOW - 2))


def test_a_reward_that_returns_too_few_scores_stops_the_run() -> None:
    def short_reward(completions: list[str], **columns: Any) -> list[float]:
        return [1.0]

    short_reward.columns = ()
    with pytest.raises(Problem, match="gave 1 scores for 2 answers"):
        RewardErrorPolicy(short_reward, "lazy")(completions=["a", "b"])
