"""1 when the answer means the same number or formula as the right one, however it is written, 0 otherwise."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from app.data.fields import Cell
from app.engine.contracts import RewardDefinition
from app.engine.reward_runtime.reward import PerRowReward
from app.setup.knob import Knobs, knob

if TYPE_CHECKING:
    from sympy import Basic, MatrixBase

_MAX_FORMULA_LENGTH = 200  # characters of a text that may be one formula
_MATH_DELIMITER = re.compile(r"\$|\\\(|\\\[|\\boxed")
# Text that no formula contains: a word or a unit, several lines, a colon, digits in groups. Commands and functions are
# allowed, and so are two letters that form no word: a product.
_PROSE = re.compile(
    r"(?<![\\a-zA-Z])(?!(?:sin|cos|tan|cot|sec|csc|log|exp|max|min|gcd|lcm|mod|sqrt)\b)[a-zA-Z]{3,}"
    r"|(?<![\\a-zA-Z])(?:am|an|as|at|be|by|cm|do|ft|he|hr|if|in|is|it|kg|km|lb|mg|ml|mm|my|no|of|on|or|oz|pm|so|to|up|us|we)(?![a-zA-Z])"
    r"|\d\s+[a-zA-Z]$|\d\s+\d|[\n:]"
)
_TEXT_COMMAND = re.compile(r"\\(?:text|mbox|mathrm|textbf|begin|end)\s*\{[^{}]*\}")
_DECORATION = re.compile(r"\*\*|[`€£]")
_MIXED_NUMBER = re.compile(r"(-?)(\d+)\s+(\d+)/(\d+)")


class Params(Knobs):
    column: str = knob("answer", "The column with the right number or formula, plain or in LaTeX.", picks="column")
    after_thinking: bool = knob(True, "Looks only at what comes after the last </think>, where there is one.")


def make(params: Params) -> PerRowReward:
    def score(completion: str, reference: Cell) -> float | None:
        from math_verify import verify

        if reference is None or not (reference_formulas := _parse_formulas(str(reference))):
            return None  # this row has nothing to compare with
        answer_text = completion.rpartition("</think>")[2] if params.after_thinking else completion
        return float(verify(reference_formulas, _parse_formulas(answer_text)))

    return PerRowReward(score, params.column)


def _parse_formulas(text: str) -> list[Basic | MatrixBase | str]:
    """The formulas math-verify finds in a text; [] for none.

    It parses formulas only between delimiters such as $…$: of a bare 3√13 in LaTeX it would see only the 3. A text that
    is one formula and no sentence is therefore parsed as if it had delimiters.
    """
    from math_verify import parse

    bare = _DECORATION.sub("", text).strip()
    if mixed_number := _MIXED_NUMBER.fullmatch(bare):
        sign, number, numerator, denominator = mixed_number.groups()
        bare = f"{sign}({number} + {numerator}/{denominator})"
    if (
        not bare
        or len(bare) > _MAX_FORMULA_LENGTH
        or _MATH_DELIMITER.search(bare)
        or _PROSE.search(_TEXT_COMMAND.sub("", bare))
    ):
        return parse(text)
    formulas = parse(f"${bare}$")
    has_formula = any(not isinstance(formula, str) for formula in formulas)
    return formulas if has_formula else parse(text) or formulas


REWARD = RewardDefinition(
    title="The same in mathematics",
    sentence=__doc__,
    params=Params,
    make=make,
    slow=True,
    seconds=15.0,
)
