"""Reward checks that run once the examples are loaded, before the model is loaded and training starts."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from app.core.problems import Problem
from app.data.rows import Row
from app.engine.contracts import load_reward
from app.engine.reward_runtime import reward_factory
from app.engine.reward_runtime.reward import FailedScore, Score
from app.planning.data_preflight import check_reward_columns
from app.setup.spec import Reward

if TYPE_CHECKING:
    from app.engine.job import Job

_PROBE_COMPLETION = "Hello."  # a poor answer, but any judge can score it
_QUICK_FAILURE = 5.0  # seconds; a failure faster than this is tried once more, as it may be temporary


def require_working_rewards(job: Job) -> None:
    """Raises Problem when a column that a reward needs is missing, or a service it calls does not answer.

    Only for methods that train on rewards.

    Where rewards are metrics only, the first evaluation shows it.
    """
    if not (job.spec.rewards and job.method.needs_rewards):
        return
    first_row = next(iter(job.data.train))
    check_reward_columns(job.spec, first_row)  # the columns of Hub datasets were not known before
    for reward_spec in job.spec.rewards:
        if load_reward(reward_spec.name).calls_out:
            _require_score(reward_spec, first_row)


def _require_score(reward_spec: Reward, row: Row) -> None:
    started = time.monotonic()
    score = _probe_score(reward_spec, row)
    if isinstance(score, FailedScore) and time.monotonic() - started < _QUICK_FAILURE:
        score = _probe_score(reward_spec, row)
    if isinstance(score, FailedScore):
        raise Problem(
            f"The reward “{reward_spec.label}” was tried before anything is learned, and gave no score ({score.reason}).",
            advice="See to it that who it asks is running and answers, then start again.",
            reason="reward_failed",
        )


def _probe_score(reward_spec: Reward, row: Row) -> Score:
    """The reward's score of the probe completion."""
    columns = {name: [cell] for name, cell in row.items()} | {"prompts": [row["prompt"]], "completion_ids": [[0]]}
    [score] = reward_factory.build_reward(reward_spec)(completions=[_PROBE_COMPLETION], **columns)
    return score
