"""Works out sums, so that the model need not guess them."""

from __future__ import annotations

import ast
import cmath
import math
import operator
from collections.abc import Callable
from typing import Any

TITLE = "A calculator"

LONGEST = 200  # characters of one expression
LARGEST = 1e100  # beyond this nobody asked in earnest
DIGITS = 12  # of a fraction
Number = int | float

SIGNS = str.maketrans({"×": "*", "·": "*", "÷": "/", "−": "-", "^": "^"})
PAIRS: dict[type, Callable[[Any, Any], Number]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.FloorDiv: operator.floordiv,
    ast.Mod: operator.mod,
}
ALONE: dict[type, Callable[[Any], Number]] = {ast.UAdd: operator.pos, ast.USub: operator.neg}


def rounded(value: Number, digits: int = 0) -> Number:
    if abs(digits) > DIGITS:
        raise ValueError(f"round takes at most {DIGITS} digits")
    return round(value, digits) if digits else round(value)


FUNCTIONS: dict[str, Callable[..., Number]] = {"sqrt": math.sqrt, "abs": abs, "round": rounded, "min": min, "max": max}
NAMES = {"pi": math.pi, "e": math.e}


def calculator(expression: str) -> str:
    """
    Works out an arithmetic expression.

    Args:
        expression: What to work out, such as (3 + 4) * 2 or sqrt(16).
    """
    text = str(expression).strip().rstrip("=").translate(SIGNS).replace("^", "**").strip()
    if len(text) > LONGEST:
        raise ValueError(f"the expression is longer than {LONGEST} characters")
    try:
        return written(value_of(ast.parse(text, mode="eval").body))
    except (SyntaxError, MemoryError, RecursionError) as error:
        raise ValueError(f"this is no arithmetic: {text}") from error


def value_of(node: ast.AST) -> Number:
    """What a part of the expression is worth. Raises ValueError for all that is no arithmetic, and ArithmeticError."""
    if isinstance(node, ast.Constant) and type(node.value) in (int, float):
        return bounded(node.value)
    if isinstance(node, ast.BinOp):
        left, right = value_of(node.left), value_of(node.right)
        return power(left, right) if isinstance(node.op, ast.Pow) else bounded(known(PAIRS, node.op)(left, right))
    if isinstance(node, ast.UnaryOp):
        return known(ALONE, node.op)(value_of(node.operand))
    if isinstance(node, ast.Name) and node.id in NAMES:
        return NAMES[node.id]
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in FUNCTIONS and not node.keywords:  # fmt: skip
        return called(node.func.id, [value_of(one) for one in node.args])
    raise ValueError(f"this is no arithmetic: {ast.unparse(node)}")


def known(table: dict[type, Callable[..., Number]], sign: ast.AST) -> Callable[..., Number]:
    if type(sign) not in table:
        raise ValueError(f"this is no sign of arithmetic: {type(sign).__name__}")
    return table[type(sign)]


def called(name: str, values: list[Number]) -> Number:
    try:
        return bounded(FUNCTIONS[name](*values))
    except TypeError as error:
        raise ValueError(f"{name} does not take {len(values)} such numbers") from error


def power(base: Number, exponent: Number) -> Number:
    """Its size is known before it is worked out, which might take for ever."""
    if base and exponent * math.log10(abs(base)) > math.log10(LARGEST):
        raise ValueError("the result is too large")
    found = base**exponent
    if isinstance(found, complex) or cmath.isnan(found):
        raise ValueError("this has no real result")
    return bounded(found)


def bounded(value: Number) -> Number:
    if not abs(value) <= LARGEST:  # nor is what is no number
        raise ValueError("the result is too large")
    return value


def written(value: Number) -> str:
    """Whole numbers without a point, fractions with as many digits as mean something."""
    return str(value) if isinstance(value, int) else f"{value:.{DIGITS}g}"
