"""1 when the last number in the answer is the right one within a tolerance, 0 otherwise."""

from __future__ import annotations

import math
import re

from app.data.fields import Cell
from app.engine.contracts import RewardDefinition
from app.engine.reward_runtime.reward import PerRowReward
from app.setup.knob import Knobs, knob

_NUMBER = re.compile(r"(?:(?<![\d)])[-+])?(?:(?:\d{1,3}(?:,\d{3})+|\d+)(?:\.\d+)?|\.\d+)(?:[eE][-+]?\d+)?", re.ASCII)


class Params(Knobs):
    column: str = knob("answer", "The column with the right number.", picks="column")
    tolerance: float = knob(1e-6, "How far off still counts, in the number's own unit.", low=0.0, high=1e12)


def make(params: Params) -> PerRowReward:
    def score(completion: str, reference: Cell) -> float | None:
        reference_number, answer_number = _last_number(str(reference)), _last_number(completion)
        if reference_number is None:
            return None  # this row has no number to compare with
        return float(answer_number is not None and abs(answer_number - reference_number) <= params.tolerance)

    return PerRowReward(score, params.column)


def _last_number(text: str) -> float | None:
    """The last finite number in the text; commas may group thousands."""
    matches = _NUMBER.findall(text.replace("−", "-"))  # the typographic minus
    number = float(matches[-1].replace(",", "")) if matches else math.nan
    return number if math.isfinite(number) else None


REWARD = RewardDefinition(
    title="The right number",
    sentence=__doc__,
    params=Params,
    make=make,
)
