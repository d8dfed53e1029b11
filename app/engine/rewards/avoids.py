"""1 when none of the unwanted words or phrases occurs in the answer, less for each that does."""

from __future__ import annotations

from app.engine.reward_runtime.reward import per_row
from app.engine.rewards._words import Words, looked_for
from app.setup.knob import Knobs, knob

TITLE = "Avoids certain words"


class Params(Knobs):
    words: Words = knob([], "The words or phrases that should not occur, one on each line; each counts the same.")
    ignore_case: bool = knob(True, "Treats capital and small letters alike.")


def lacking(params: Params) -> str | None:
    """What it cannot work without, as the end of a sentence."""
    return None if params.words else "has no words to avoid"


def make(params: Params) -> per_row:
    unwanted = [looked_for(word, params.ignore_case) for word in params.words]

    def score(completion: str) -> float | None:
        if not unwanted:
            return None
        text = looked_for(completion, params.ignore_case)
        return 1.0 - sum(word in text for word in unwanted) / len(unwanted)

    return per_row(score)
