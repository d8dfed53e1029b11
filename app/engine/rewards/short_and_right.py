"""Right answers earn more the shorter they are, wrong ones lose less the longer they tried (cosine-scaled)."""

from __future__ import annotations

import math

from app.data.fields import Cell
from app.engine.contracts import RewardDefinition
from app.engine.reward_runtime.reward import PerRowReward
from app.engine.rewards import math_equal
from app.setup.knob import Knobs, knob


class Params(Knobs):
    column: str = knob("answer", "The column with the right number or formula, plain or in LaTeX.", picks="column")
    most: int = knob(
        256, "The length at which the favour for short answers is used up.", low=1, high=1_000_000, unit="tokens"
    )


def make(params: Params) -> PerRowReward:
    math_score = math_equal.make(math_equal.Params(column=params.column)).score

    def score(completion: str, reference: Cell, ids: list[int]) -> float | None:
        correctness = math_score(completion, reference)
        return None if correctness is None else _cosine_scaled(correctness == 1.0, len(ids), params.most)

    return PerRowReward(score, params.column, trainer_columns=("completion_ids",))


def _cosine_scaled(is_right: bool, length: int, most: int) -> float:
    """Cosine length reward (arXiv 2502.03373, appendix C.1), over lengths of 0 to `most` tokens.

    1 to 0.5 for right answers, −1 to −0.5 for wrong ones.
    """
    shortest_reward, longest_reward = (1.0, 0.5) if is_right else (-1.0, -0.5)
    return longest_reward + (shortest_reward - longest_reward) * (1 + math.cos(math.pi * min(length, most) / most)) / 2


REWARD = RewardDefinition(
    title="Right, and soon",
    sentence=__doc__,
    params=Params,
    make=make,
    slow=True,
    seconds=math_equal.REWARD.seconds,
)
