"""The share of wanted words or phrases that occur in the answer."""

from __future__ import annotations

from app.data.fields import Cell
from app.engine.contracts import RewardDefinition
from app.engine.reward_runtime.reward import PerRowReward
from app.engine.rewards._words import WordList, normalize_text
from app.setup.knob import Knobs, knob


class Params(Knobs):
    words: WordList = knob([], "The words or phrases to look for; each counts the same.")
    column: str = knob("", "Or: a column that holds the word to look for in its own row.", picks="column")
    ignore_case: bool = knob(True, "Treats capital and small letters alike.")


def lacking(params: Params) -> str | None:
    """What is missing for this reward to work, as the end of a sentence; None when nothing is."""
    return None if params.words or params.column else "has no words to look for"


def make(params: Params) -> PerRowReward:
    def score(completion: str, column_word: Cell = None) -> float | None:
        wanted_words = [*params.words, *([str(column_word)] if column_word not in (None, "") else [])]
        if not wanted_words:
            return None
        text = normalize_text(completion, params.ignore_case)
        return sum(normalize_text(word, params.ignore_case) in text for word in wanted_words) / len(wanted_words)

    return PerRowReward(score, *([params.column] if params.column else []))


REWARD = RewardDefinition(
    title="Contains certain words",
    sentence=__doc__,
    params=Params,
    make=make,
    lacking=lacking,
)
