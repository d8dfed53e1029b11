"""Right answers earn more the shorter they are, wrong ones lose less the longer they tried (cosine-scaled)."""

from __future__ import annotations

import math

from app.engine.reward_runtime.reward import per_row
from app.engine.rewards import math_equal
from app.setup.knob import Knobs, knob

TITLE = "Right, and soon"
SLOW, SECONDS = True, math_equal.SECONDS


class Params(Knobs):
    column: str = knob("answer", "The column with the right number or formula, plain or in LaTeX.", picks="column")
    most: int = knob(
        256, "The length at which the favour for short answers is used up.", low=1, high=1_000_000, unit="tokens"
    )


def make(params: Params) -> per_row:
    right = math_equal.make(math_equal.Params(column=params.column)).score

    def score(completion: str, wanted: object, ids: list[int]) -> float | None:
        found = right(completion, wanted)
        return None if found is None else scaled(found == 1.0, len(ids), params.most)

    return per_row(score, params.column, given=("completion_ids",))


def scaled(right: bool, length: int, most: int) -> float:
    """Appendix C.1 of arXiv 2502.03373: from 1 to 0.5 for right answers, from −1 to −0.5 for wrong ones, along half a cosine."""
    short, long = (1.0, 0.5) if right else (-1.0, -0.5)
    return long + (short - long) * (1 + math.cos(math.pi * min(length, most) / most)) / 2
