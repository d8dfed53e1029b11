"""Reward process: scores one answer after another for its parent, which can kill it when an answer hangs.

Run as `python -m app.engine.reward_runtime.reward_process FOLDER`. The first line on stdin is the reward as JSON; the
reply is {"ready"}. Each further line is {"id", "completion", "columns"} and gets one line with its id back: {"score": number
or null} or {"failed": reason}; {"problem": …} reports a Problem. It ends with its parent, also when it computes for ever. A reward that runs code enters
the sandbox before it reads any.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import TypedDict

from app.core.problems import Problem
from app.core.processes import redirect_stdout_to_stderr
from app.data.fields import Row
from app.engine.contracts import RewardFunction, load_reward
from app.engine.reward_runtime import sandbox
from app.engine.reward_runtime.error_policy import validate_score
from app.engine.reward_runtime.process_guard import start_guard
from app.engine.reward_runtime.reward import FailedScore
from app.setup.spec import Reward


class Request(TypedDict):
    """One completion to score. id: of the request, for its reply. columns: the cells of its row that the reward reads."""

    id: str
    completion: str
    columns: Row


class ProblemFields(TypedDict):
    """The arguments of a Problem."""

    text: str
    advice: str
    reason: str


class Reply(TypedDict, total=False):
    """What one line of a reply holds: one of these, and the id of its request. failed: the reason."""

    id: str
    ready: bool
    score: float | None
    failed: str
    problem: ProblemFields


def main() -> None:
    replies = os.fdopen(os.dup(1), "w", buffering=1, encoding="utf-8")
    redirect_stdout_to_stderr()
    try:
        reward_function = _build_reward(Reward.model_validate(json.loads(sys.stdin.readline())), Path(sys.argv[1]))
    except Problem as problem:  # sent to the parent, which raises it
        replies.write(json.dumps(_problem_reply(problem)) + "\n")
        return
    replies.write('{"ready": true}\n')
    for line in sys.stdin:
        request: Request = json.loads(line)
        replies.write(json.dumps(_score_request(reward_function, request) | {"id": request["id"]}) + "\n")


def _build_reward(reward: Reward, scratch: Path) -> RewardFunction:
    definition = load_reward(reward.name)
    if definition.before_sandbox:
        definition.before_sandbox(scratch)
    if definition.runs_code:
        sandbox.enter_sandbox(scratch)
    else:
        start_guard()
    return definition.make(definition.params.model_validate(reward.params))


def _score_request(reward_function: RewardFunction, request: Request) -> Reply:
    try:
        [raw_score] = reward_function(
            completions=[request["completion"]], **{name: [value] for name, value in request["columns"].items()}
        )
    except Problem as problem:  # sent to the parent, which raises it
        return _problem_reply(problem)
    score = validate_score(raw_score)
    return {"failed": score.reason} if isinstance(score, FailedScore) else {"score": score}


def _problem_reply(problem: Problem) -> Reply:
    return {"problem": {"text": problem.text, "advice": problem.advice, "reason": problem.reason}}


if __name__ == "__main__":
    main()
