"""1 when the answer is exactly the text of a column, 0 otherwise; surrounding white space does not count."""

from __future__ import annotations

from unicodedata import normalize

from app.engine.reward_runtime.reward import per_row
from app.setup.knob import Knobs, knob

TITLE = "Exactly the right answer"


class Params(Knobs):
    column: str = knob("answer", "The column with the right answer.", picks="column")
    ignore_case: bool = knob(False, "Treats capital and small letters alike.")


def make(params: Params) -> per_row:
    def score(completion: str, right: object) -> float | None:
        if right is None:
            return None  # this row has no answer to compare with
        given, wanted = (normalize("NFC", str(text).strip()) for text in (completion, right))
        return float(given.casefold() == wanted.casefold() if params.ignore_case else given == wanted)

    return per_row(score, params.column)
