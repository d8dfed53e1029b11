"""1 when the answer is JSON with the wanted keys, half when only keys are missing, 0 when it is no JSON object."""

from __future__ import annotations

import json

from app.engine.contracts import RewardDefinition
from app.engine.reward_runtime.reward import PerRowReward
from app.setup.knob import Knobs, knob


class Params(Knobs):
    keys: list[str] = knob([], "Keys that must be there.")


def refuse_constant(constant: str) -> None:
    """Python reads NaN and Infinity; JSON has neither."""
    raise ValueError(constant)


def make(params: Params) -> PerRowReward:
    def score(completion: str) -> float:
        try:
            document = json.loads(completion, parse_constant=refuse_constant)
        except (ValueError, RecursionError):  # a model's answer
            return 0.0
        if not isinstance(document, dict):
            return 0.0
        return 1.0 if all(key in document for key in params.keys) else 0.5

    return PerRowReward(score)


REWARD = RewardDefinition(
    title="Valid JSON",
    sentence=__doc__,
    params=Params,
    make=make,
)
