"""1 when the answer means the same number or formula as the right one, however it is written, 0 otherwise."""

from __future__ import annotations

from app.engine.knob import Knobs, knob
from app.engine.rewarding.reward import per_row

TITLE = "The same in mathematics"
SLOW = True  # math-verify takes seconds for some formulas, and its own time limits need a process's main thread
SECONDS = 15.0


class Params(Knobs):
    column: str = knob("answer", "The column with the right number or formula, plain or in LaTeX.", picks="column")
    after_thinking: bool = knob(True, "Looks only at what comes after the last </think>, where there is one.")


def make(params: Params) -> per_row:
    def score(completion: str, right: object) -> float | None:
        from math_verify import parse, verify

        wanted = parse(str(right))
        if not wanted:
            return None  # this row has nothing to compare with
        said = completion.rpartition("</think>")[2] if params.after_thinking else completion
        return float(verify(wanted, parse(said)))

    return per_row(score, params.column)
