"""What a function of your own gives the answer; it runs shut off from network, files and other programs."""

from __future__ import annotations

import ast
from collections.abc import Callable
from functools import cache
from typing import Any

from pydantic import field_validator

from app.data.fields import Cell, Row
from app.engine.contracts import RewardDefinition
from app.engine.reward_runtime.reward import PerRowReward
from app.engine.reward_runtime.sandbox import require_sandbox
from app.setup.knob import Knobs, knob

_EXAMPLE = "def score(answer, row):\n    return float(len(answer) > 0)\n"


class Params(Knobs):
    code: str = knob(
        _EXAMPLE,
        "Python with a function score(answer, row) that returns a number, or None where it does not apply.",
        picks="program",
    )
    columns: list[str] = knob([], "The columns that it may look at in `row`, one on each line.")

    @field_validator("code")
    @classmethod
    def check_code(cls, code: str) -> str:
        try:
            score_functions = [
                node for node in ast.parse(code).body if isinstance(node, ast.FunctionDef) and node.name == "score"
            ]
        except (SyntaxError, ValueError, RecursionError) as error:
            raise ValueError(f"it is no Python ({error})") from error
        if not score_functions or len(score_functions[-1].args.args) != 2:
            raise ValueError("it needs a function score(answer, row)")
        return code


def make(params: Params) -> PerRowReward:
    @cache
    def load_function() -> Callable[[str, Row], float | None]:
        require_sandbox()
        names: dict[str, Any] = {"__name__": "reward"}
        exec(compile(params.code, "reward", "exec"), names)
        return names["score"]

    def score(completion: str, *row_values: Cell) -> float | None:
        return load_function()(completion, dict(zip(params.columns, row_values, strict=True)))

    return PerRowReward(score, *params.columns)


REWARD = RewardDefinition(
    title="Your own Python",
    sentence=__doc__,
    params=Params,
    make=make,
    runs_code=True,
    seconds=10.0,
)
