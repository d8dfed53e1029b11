"""How much the answer is like the text of a column, from 0 to 1, by the words in their order or letter by letter."""

from __future__ import annotations

from typing import Literal

from app.data.fields import Cell
from app.engine.contracts import RewardDefinition
from app.engine.reward_runtime.reward import PerRowReward
from app.setup.knob import Knobs, knob


class Params(Knobs):
    column: str = knob("answer", "The column with the right answer.", picks="column")
    by: Literal["words", "letters"] = knob(
        "words",
        "What is compared.",
        choices={
            "words": "Words that both have in the same order (ROUGE-L).",
            "letters": "How few letters must change to make one the other (edit distance).",
        },
    )
    ignore_case: bool = knob(True, "Treats capital and small letters alike.")


def make(params: Params) -> PerRowReward:
    def score(completion: str, reference: Cell) -> float | None:
        from rapidfuzz.distance import LCSseq, Levenshtein

        if reference is None:
            return None  # this row has no answer to compare with
        answer_text, reference_text = completion.strip(), str(reference).strip()
        if params.ignore_case:
            answer_text, reference_text = answer_text.lower(), reference_text.lower()
        if params.by == "letters":
            return float(Levenshtein.normalized_similarity(answer_text, reference_text))
        answer_words, reference_words = answer_text.split(), reference_text.split()
        if not answer_words or not reference_words:
            return float(answer_words == reference_words)
        # F1 of the longest common subsequence (Lin 2004): 2·LCS / (words of both)
        return 2 * LCSseq.similarity(answer_words, reference_words) / (len(answer_words) + len(reference_words))

    return PerRowReward(score, params.column)


REWARD = RewardDefinition(
    title="Like the right answer",
    sentence=__doc__,
    params=Params,
    make=make,
)
