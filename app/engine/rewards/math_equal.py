"""1 when the answer means the same number or formula as the right one, however it is written, 0 otherwise."""

from __future__ import annotations

import re
from typing import Any

from app.engine.knob import Knobs, knob
from app.engine.rewarding.reward import per_row

TITLE = "The same in mathematics"
SLOW = True  # math-verify takes seconds for some formulas, and its own time limits need a process's main thread
SECONDS = 15.0
MARKED = re.compile(r"\$|\\\(|\\\[|\\boxed")
PROSE = re.compile(r"(?<![\\a-zA-Z])[a-zA-Z]{2,}[,:]?\s+(?!=)\S|\n")  # a word that something follows, or several lines
WORDS = re.compile(r"\\text\{[^{}]*\}")


class Params(Knobs):
    column: str = knob("answer", "The column with the right number or formula, plain or in LaTeX.", picks="column")
    after_thinking: bool = knob(True, "Looks only at what comes after the last </think>, where there is one.")


def make(params: Params) -> per_row:
    def score(completion: str, right: object) -> float | None:
        from math_verify import verify

        if right is None or not (wanted := meant(str(right))):
            return None  # this row has nothing to compare with
        said = completion.rpartition("</think>")[2] if params.after_thinking else completion
        return float(verify(wanted, meant(said)))

    return per_row(score, params.column)


def meant(text: str) -> list[Any]:
    """What math-verify finds in a text; [] where that is nothing.

    It reads formulas only between marks such as $…$: of a bare 3√13 in LaTeX it would see the 3 alone. A text that is one formula
    and no sentence is read as if it had them.
    """
    from math_verify import parse

    text = text.strip()
    bare = text and not MARKED.search(text) and not PROSE.search(WORDS.sub("", text))
    return (parse(f"${text}$") if bare else []) or parse(text)
