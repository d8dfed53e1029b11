"""1 when none of the unwanted words or phrases occurs in the answer, less for each that does."""

from __future__ import annotations

from app.engine.contracts import RewardDefinition
from app.engine.reward_runtime.reward import PerRowReward
from app.engine.rewards._words import WordList, normalize_text
from app.setup.knob import Knobs, knob


class Params(Knobs):
    words: WordList = knob([], "The words or phrases that should not occur, one on each line; each counts the same.")
    ignore_case: bool = knob(True, "Treats capital and small letters alike.")


def lacking(params: Params) -> str | None:
    """What is missing for this reward to work, as the end of a sentence; None when nothing is."""
    return None if params.words else "has no words to avoid"


def make(params: Params) -> PerRowReward:
    unwanted_words = [normalize_text(word, params.ignore_case) for word in params.words]

    def score(completion: str) -> float | None:
        if not unwanted_words:
            return None
        text = normalize_text(completion, params.ignore_case)
        return 1.0 - sum(word in text for word in unwanted_words) / len(unwanted_words)

    return PerRowReward(score)


REWARD = RewardDefinition(
    title="Avoids certain words",
    sentence=__doc__,
    params=Params,
    make=make,
    lacking=lacking,
)
