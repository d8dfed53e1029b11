"""1 when the answer's length lies in a band; outside it falls to 0 over half the band's nearer limit."""

from __future__ import annotations

from typing import Literal

from pydantic import model_validator

from app.engine.contracts import RewardDefinition
from app.engine.reward_runtime.reward import PerRowReward
from app.setup.knob import Knobs, knob


class Params(Knobs):
    least: int = knob(1, "Shortest good answer.", low=0, high=1_000_000)
    most: int = knob(200, "Longest good answer.", low=1, high=1_000_000)
    unit: Literal["characters", "words"] = knob(
        "characters", "What is counted.", choices={"characters": "Letters and signs.", "words": "Words."}
    )

    @model_validator(mode="after")
    def check_band(self) -> Params:
        if self.least > self.most:
            raise ValueError(f"the shortest ({self.least}) is longer than the longest ({self.most})")
        return self


def make(params: Params) -> PerRowReward:
    def score(completion: str) -> float:
        text = completion.strip()
        length = len(text.split() if params.unit == "words" else text)
        if params.least <= length <= params.most:
            return 1.0
        limit = params.least if length < params.least else params.most
        return max(0.0, 1.0 - abs(length - limit) / max(1.0, limit / 2))

    return PerRowReward(score)


REWARD = RewardDefinition(
    title="A good length",
    sentence=__doc__,
    params=Params,
    make=make,
)
