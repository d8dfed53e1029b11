"""The share of wanted words or phrases that occur in the answer."""

from __future__ import annotations

from app.engine.reward_runtime.reward import per_row
from app.engine.rewards._words import Words, looked_for
from app.setup.knob import Knobs, knob

TITLE = "Contains certain words"


class Params(Knobs):
    words: Words = knob([], "The words or phrases to look for; each counts the same.")
    column: str = knob("", "Or: a column that holds the word to look for in its own row.", picks="column")
    ignore_case: bool = knob(True, "Treats capital and small letters alike.")


def lacking(params: Params) -> str | None:
    """What it cannot work without, as the end of a sentence."""
    return None if params.words or params.column else "has no words to look for"


def make(params: Params) -> per_row:
    def score(completion: str, own: object = None) -> float | None:
        wanted = [*params.words, *([str(own)] if own not in (None, "") else [])]
        if not wanted:
            return None
        text = looked_for(completion, params.ignore_case)
        return sum(looked_for(word, params.ignore_case) in text for word in wanted) / len(wanted)

    return per_row(score, *([params.column] if params.column else []))
