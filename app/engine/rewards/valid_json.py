"""1 when the answer is JSON with the wanted keys, half when only keys are missing, 0 when it is no JSON object."""

from __future__ import annotations

import json

from app.engine.reward_runtime.reward import per_row
from app.setup.knob import Knobs, knob

TITLE = "Valid JSON"


class Params(Knobs):
    keys: list[str] = knob([], "Keys that must be there.")


def refuse(constant: str) -> None:
    """Python reads NaN and Infinity; JSON has neither."""
    raise ValueError(constant)


def make(params: Params) -> per_row:
    def score(completion: str) -> float:
        try:
            value = json.loads(completion, parse_constant=refuse)
        except (ValueError, RecursionError):  # a border: a model's answer
            return 0.0
        if not isinstance(value, dict):
            return 0.0
        return 1.0 if all(key in value for key in params.keys) else 0.5

    return per_row(score)
