"""What a function of your own gives the answer; it runs shut off from network, files and other programs."""

from __future__ import annotations

import ast
from collections.abc import Callable
from functools import cache
from typing import Any

from pydantic import field_validator

from app.engine.reward_runtime.reward import per_row
from app.engine.reward_runtime.sandbox import require_confined
from app.setup.knob import Knobs, knob

TITLE = "Your own Python"
RUNS_CODE = True
SECONDS = 10.0
EXAMPLE = "def score(answer, row):\n    return float(len(answer) > 0)\n"


class Params(Knobs):
    code: str = knob(
        EXAMPLE,
        "Python with a function score(answer, row) that returns a number, or None where it does not apply.",
        picks="program",
    )
    columns: list[str] = knob([], "The columns that it may look at in `row`, one on each line.")

    @field_validator("code")
    @classmethod
    def it_has_the_function(cls, value: str) -> str:
        try:
            found = [one for one in ast.parse(value).body if isinstance(one, ast.FunctionDef) and one.name == "score"]
        except (SyntaxError, ValueError, RecursionError) as error:
            raise ValueError(f"it is no Python ({error})") from error
        if not found or len(found[-1].args.args) != 2:
            raise ValueError("it needs a function score(answer, row)")
        return value


def make(params: Params) -> per_row:
    @cache
    def function() -> Callable[[str, dict[str, Any]], Any]:
        require_confined()
        names: dict[str, Any] = {"__name__": "reward"}
        exec(compile(params.code, "reward", "exec"), names)
        return names["score"]

    def score(completion: str, *values: Any) -> float | None:
        return function()(completion, dict(zip(params.columns, values, strict=True)))

    return per_row(score, *params.columns)
