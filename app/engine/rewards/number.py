"""1 when the last number in the answer is the right one within a tolerance, 0 otherwise."""

from __future__ import annotations

import math
import re

from app.engine.reward_runtime.reward import per_row
from app.setup.knob import Knobs, knob

TITLE = "The right number"
NUMBER = re.compile(r"(?:(?<![\d)])[-+])?(?:(?:\d{1,3}(?:,\d{3})+|\d+)(?:\.\d+)?|\.\d+)(?:[eE][-+]?\d+)?", re.ASCII)


class Params(Knobs):
    column: str = knob("answer", "The column with the right number.", picks="column")
    tolerance: float = knob(1e-6, "How far off still counts, in the number's own unit.", low=0.0, high=1e12)


def make(params: Params) -> per_row:
    def score(completion: str, right: object) -> float | None:
        wanted, given = last_number(str(right)), last_number(completion)
        if wanted is None:
            return None  # this row has no number to compare with
        return float(given is not None and abs(given - wanted) <= params.tolerance)

    return per_row(score, params.column)


def last_number(text: str) -> float | None:
    """The last finite number in the text; commas may group thousands."""
    found = NUMBER.findall(text.replace("−", "-"))  # the typographic minus
    value = float(found[-1].replace(",", "")) if found else math.nan
    return value if math.isfinite(value) else None
