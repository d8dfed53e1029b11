"""The share of different phrases among all phrases of so many words: 1 when nothing is said twice."""

from __future__ import annotations

from app.engine.contracts import RewardDefinition
from app.engine.reward_runtime.reward import PerRowReward
from app.setup.knob import Knobs, knob


class Params(Knobs):
    words: int = knob(
        3, "How many words make a phrase. Few punish also what language repeats anyway.", low=1, high=50, safe=(3, 6)
    )


def make(params: Params) -> PerRowReward:
    def score(completion: str) -> float:
        words = completion.split()
        phrases = [*zip(*(words[i:] for i in range(params.words)), strict=False)]
        return len(set(phrases)) / len(phrases) if phrases else 1.0

    return PerRowReward(score)


REWARD = RewardDefinition(
    title="Says nothing twice",
    sentence=__doc__,
    params=Params,
    make=make,
)
