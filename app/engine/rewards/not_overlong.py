"""0 for an answer of good length, falling to −1 for one that fills the room there is (DAPO's soft punishment)."""

from __future__ import annotations

from pydantic import model_validator

from app.engine.contracts import RewardDefinition
from app.engine.reward_runtime.reward import PerRowReward
from app.setup.knob import Knobs, knob


class Params(Knobs):
    most: int = knob(256, "The longest answer there is room for.", low=1, high=1_000_000, unit="tokens")
    margin: int = knob(
        64, "From so many tokens before that on, each further token costs.", low=1, high=1_000_000, unit="tokens"
    )

    @model_validator(mode="after")
    def check_margin(self) -> Params:
        if self.margin > self.most:
            raise ValueError(f"the margin ({self.margin}) is longer than the longest answer ({self.most})")
        return self


def make(params: Params) -> PerRowReward:
    def score(completion: str, ids: list[int]) -> float:
        """Equation 13 of the DAPO paper (arXiv 2503.14476)."""
        return max(-1.0, min(0.0, (params.most - params.margin - len(ids)) / params.margin))

    return PerRowReward(score, trainer_columns=("completion_ids",))


REWARD = RewardDefinition(
    title="Ends in time",
    sentence=__doc__,
    params=Params,
    make=make,
)
