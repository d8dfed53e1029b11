"""Beforehand: what can be known of rewards once the examples are there, before a model is loaded and anything is learned."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from app.core import registry
from app.core.problems import Problem
from app.data.rows import Row
from app.engine.reward_runtime import reward
from app.engine.reward_runtime.reward import Failed, Score
from app.planning import preflight
from app.setup.spec import Reward

if TYPE_CHECKING:
    from app.engine.job import Job

ANSWER = "Hello."  # a poor one, but any judge can say so
STUMBLE = 5.0  # seconds; a machine may stumble once, but who took longer than this to fail is not asked again


def check(job: Job) -> None:
    """Of a method that earns rewards: raises Problem for one whose column is not there, or that asks somebody who does not answer.

    Where rewards only measure, the first test tells.
    """
    if not (job.spec.rewards and getattr(job.method, "NEEDS_REWARDS", False)):
        return
    first = next(iter(job.data.train))
    preflight.check_reward_columns(job.spec, first)  # of rows from the Hub nothing was known before
    for one in job.spec.rewards:
        if getattr(registry.load("rewards", one.name), "CALLS_OUT", False):
            require_answering(one, first)


def require_answering(one: Reward, row: Row) -> None:
    began = time.monotonic()
    found = asked(one, row)
    if isinstance(found, Failed) and time.monotonic() - began < STUMBLE:
        found = asked(one, row)
    if isinstance(found, Failed):
        raise Problem(f"The reward “{one.label}” was tried before anything is learned, and gave no score ({found.reason}).",
                      advice="See to it that who it asks is running and answers, then start again.", reason="reward_failed")  # fmt: skip


def asked(one: Reward, row: Row) -> Score:
    """What it gives for one answer."""
    columns: dict[str, Any] = {name: [value] for name, value in row.items()}
    columns |= {"prompts": [row["prompt"]], "completion_ids": [[0]], "completions": [ANSWER]}
    [found] = reward.make(one)(**columns)
    return found
