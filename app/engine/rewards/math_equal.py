"""1 when the answer means the same number or formula as the right one, however it is written, 0 otherwise."""

from __future__ import annotations

import re
from typing import Any

from app.engine.reward_runtime.reward import per_row
from app.setup.knob import Knobs, knob

TITLE = "The same in mathematics"
SLOW = True  # math-verify takes seconds for some formulas, and its own time limits need a process's main thread
SECONDS = 15.0
LONGEST = 200  # signs of a text that may be one formula
MARKED = re.compile(r"\$|\\\(|\\\[|\\boxed")
# What no formula holds: a word or a unit, several lines, a colon, a number in groups. Commands and functions may stand in one, and so may
# two letters that are no word: they are multiplied.
PROSE = re.compile(
    r"(?<![\\a-zA-Z])(?!(?:sin|cos|tan|cot|sec|csc|log|exp|max|min|gcd|lcm|mod|sqrt)\b)[a-zA-Z]{3,}"
    r"|(?<![\\a-zA-Z])(?:am|an|as|at|be|by|cm|do|ft|he|hr|if|in|is|it|kg|km|lb|mg|ml|mm|my|no|of|on|or|oz|pm|so|to|up|us|we)(?![a-zA-Z])"
    r"|\d\s+[a-zA-Z]$|\d\s+\d|[\n:]"
)
WORDS = re.compile(r"\\(?:text|mbox|mathrm|textbf|begin|end)\s*\{[^{}]*\}")
DRESS = re.compile(r"\*\*|[`€£]")
MIXED = re.compile(r"(-?)(\d+)\s+(\d+)/(\d+)")


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

    bare = DRESS.sub("", text).strip()
    if whole := MIXED.fullmatch(bare):
        sign, number, over, under = whole.groups()
        bare = f"{sign}({number} + {over}/{under})"
    if not bare or len(bare) > LONGEST or MARKED.search(bare) or PROSE.search(WORDS.sub("", bare)):
        return parse(text)
    found = parse(f"${bare}$")
    understood = any(not isinstance(one, str) for one in found)
    return found if understood else parse(text) or found
