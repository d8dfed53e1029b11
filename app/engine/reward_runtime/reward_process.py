"""Rewarder: `python -m app.engine.reward_runtime.reward_process FOLDER` scores one answer after another in a process of its own, which can be stopped when one hangs.

The first line on its stdin is the reward as JSON; it answers {"ready"}; each further line is {"completion", "columns"} and gets one line back:
{"score": number or null} or {"failed": reason}. It ends with its parent. A reward that runs code is confined before it hears of any.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

from app.core import registry
from app.core.problems import Problem
from app.engine.emitter import silence_stdout
from app.engine.reward_runtime import sandbox
from app.engine.reward_runtime.error_policy import sound
from app.engine.reward_runtime.reward import Failed, Scorer
from app.setup.spec import Reward


def main() -> None:
    answers = os.fdopen(os.dup(1), "w", buffering=1, encoding="utf-8")
    silence_stdout()
    try:
        scorer = ready(Reward.model_validate(json.loads(sys.stdin.readline())), Path(sys.argv[1]))
    except Problem as problem:  # handed to whoever asked
        answers.write(json.dumps(told(problem)) + "\n")
        return
    answers.write('{"ready": true}\n')
    for line in sys.stdin:
        answers.write(json.dumps(answered(scorer, json.loads(line))) + "\n")


def ready(reward: Reward, scratch: Path) -> Scorer:
    module = registry.load("rewards", reward.name)
    if getattr(module, "RUNS_CODE", False):
        sandbox.confine(scratch)
    return module.make(module.Params.model_validate(reward.params))


def answered(scorer: Scorer, asked: dict[str, Any]) -> dict[str, Any]:
    try:
        [one] = scorer(completions=[asked["completion"]], **{name: [value] for name, value in asked["columns"].items()})
    except Problem as problem:  # handed to whoever asked
        return told(problem)
    score = sound(one)
    return {"failed": score.reason} if isinstance(score, Failed) else {"score": score}


def told(problem: Problem) -> dict[str, Any]:
    return {"problem": {"text": problem.text, "advice": problem.advice, "reason": problem.reason}}


if __name__ == "__main__":
    main()
