"""How much the answer is like the text of a column, from 0 to 1, by the words in their order or letter by letter."""

from __future__ import annotations

from typing import Literal

from app.engine.reward_runtime.reward import per_row
from app.setup.knob import Knobs, knob

TITLE = "Like the right answer"


class Params(Knobs):
    column: str = knob("answer", "The column with the right answer.", picks="column")
    by: Literal["words", "letters"] = knob(
        "words", "What is compared.",
        choices={"words": "Words that both have in the same order (ROUGE-L).",
                 "letters": "How few letters must change to make one the other (edit distance)."})  # fmt: skip
    ignore_case: bool = knob(True, "Treats capital and small letters alike.")


def make(params: Params) -> per_row:
    def score(completion: str, right: object) -> float | None:
        from rapidfuzz.distance import LCSseq, Levenshtein

        if right is None:
            return None  # this row has no answer to compare with
        given, wanted = completion.strip(), str(right).strip()
        if params.ignore_case:
            given, wanted = given.lower(), wanted.lower()
        if params.by == "letters":
            return float(Levenshtein.normalized_similarity(given, wanted))
        given_words, wanted_words = given.split(), wanted.split()
        if not given_words or not wanted_words:
            return float(given_words == wanted_words)
        # F1 of the longest common subsequence (Lin 2004): 2·LCS / (words of both)
        return 2 * LCSseq.similarity(given_words, wanted_words) / (len(given_words) + len(wanted_words))

    return per_row(score, params.column)
