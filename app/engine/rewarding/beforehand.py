"""Beforehand: what can be known of rewards once the examples are there, before a model is loaded and anything is learned."""

from __future__ import annotations

from typing import Any

from app import preflight, rooms
from app.data.rows import Row, as_question
from app.engine.rewarding.reward import Failed, Score
from app.problems import Problem
from app.spec import Reward, Spec

ANSWER = "Hello."  # a poor one, but any judge can say so
TIMES = 2  # somebody else's machine may stumble once


def check(spec: Spec, row: Row) -> None:
    """Raises Problem for a reward whose column is not there, or that asks somebody who does not answer. row: as methods know it."""
    if getattr(rooms.load("methods", spec.method), "NEEDS_REWARDS", False):
        preflight.check_reward_columns(spec, row)  # of rows from the Hub nothing was known before
    question = as_question(row)
    for reward in spec.rewards if question else []:
        if getattr(rooms.load("rewards", reward.name), "CALLS_OUT", False):
            require_answering(reward, row, question)


def require_answering(reward: Reward, row: Row, question: tuple[Any, str]) -> None:
    for _ in range(TIMES):
        found = asked(reward, row, question)
        if not isinstance(found, Failed):
            return
    raise Problem(f"The reward “{reward.label}” was tried before anything is learned, and gave no score ({found.reason}).",
                  advice="See to it that who it asks is running and answers, then start again.", reason="reward_failed")  # fmt: skip


def asked(reward: Reward, row: Row, question: tuple[Any, str]) -> Score:
    """What it gives for one answer, asked from this process: those that call over the network have deadlines of their own."""
    module, (prompt, wanted) = rooms.load("rewards", reward.name), question
    columns = {name: [value] for name, value in ({"answer": wanted} | row).items()} | {
        "prompts": [prompt],
        "completion_ids": [[0]],
    }
    [found] = module.make(module.Params.model_validate(reward.params))(completions=[ANSWER], **columns)
    return found
