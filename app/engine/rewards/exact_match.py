"""1 when the answer is exactly the text of a column, 0 otherwise; surrounding white space does not count."""

from __future__ import annotations

from unicodedata import normalize

from app.data.fields import Cell
from app.engine.contracts import RewardDefinition
from app.engine.reward_runtime.reward import PerRowReward
from app.setup.knob import Knobs, knob


class Params(Knobs):
    column: str = knob("answer", "The column with the right answer.", picks="column")
    ignore_case: bool = knob(False, "Treats capital and small letters alike.")


def make(params: Params) -> PerRowReward:
    def score(completion: str, reference: Cell) -> float | None:
        if reference is None:
            return None  # this row has no answer to compare with
        answer, wanted = (normalize("NFC", str(text).strip()) for text in (completion, reference))
        return float(answer.casefold() == wanted.casefold() if params.ignore_case else answer == wanted)

    return PerRowReward(score, params.column)


REWARD = RewardDefinition(
    title="Exactly the right answer",
    sentence=__doc__,
    params=Params,
    make=make,
)
