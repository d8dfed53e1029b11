"""Works out sums, so that the model need not guess them."""

from __future__ import annotations

import ast
import cmath
import math
import operator
from collections.abc import Callable

from app.engine.contracts import Tool

_MAX_LENGTH = 200  # characters of one expression
_MAX_RESULT = 1e100  # larger results are refused
_MAX_DIGITS = 12  # significant digits of a fraction
_Number = int | float

_OPERATOR_SIGNS = str.maketrans({"×": "*", "·": "*", "÷": "/", "−": "-", "^": "^"})
_BINARY_OPERATORS: dict[type, Callable[[_Number, _Number], _Number]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.FloorDiv: operator.floordiv,
    ast.Mod: operator.mod,
}
_UNARY_OPERATORS: dict[type, Callable[[_Number], _Number]] = {ast.UAdd: operator.pos, ast.USub: operator.neg}


def _round(number: _Number, digits: int = 0) -> _Number:
    if abs(digits) > _MAX_DIGITS:
        raise ValueError(f"round takes at most {_MAX_DIGITS} digits")
    return round(number, digits) if digits else round(number)


_FUNCTIONS: dict[str, Callable[..., _Number]] = {"sqrt": math.sqrt, "abs": abs, "round": _round, "min": min, "max": max}
_CONSTANTS = {"pi": math.pi, "e": math.e}


def calculator(expression: str) -> str:
    """
    Works out an arithmetic expression.

    Args:
        expression: What to work out, such as (3 + 4) * 2 or sqrt(16).
    """
    text = str(expression).strip().rstrip("=").translate(_OPERATOR_SIGNS).replace("^", "**").strip()
    if len(text) > _MAX_LENGTH:
        raise ValueError(f"the expression is longer than {_MAX_LENGTH} characters")
    try:
        return _format_number(_evaluate(ast.parse(text, mode="eval").body))
    except (SyntaxError, MemoryError, RecursionError) as error:
        raise ValueError(f"this is no arithmetic: {text}") from error


def _evaluate(node: ast.AST) -> _Number:
    """Value of a node of the syntax tree. Raises ValueError for anything but arithmetic, and ArithmeticError."""
    if isinstance(node, ast.Constant) and isinstance(node.value, int | float) and not isinstance(node.value, bool):
        return _require_bounded(node.value)
    if isinstance(node, ast.BinOp):
        operands = _evaluate(node.left), _evaluate(node.right)
        if isinstance(node.op, ast.Pow):
            return _power(*operands)
        return _require_bounded(_operator(_BINARY_OPERATORS, node.op)(*operands))
    if isinstance(node, ast.UnaryOp):
        return _operator(_UNARY_OPERATORS, node.op)(_evaluate(node.operand))
    if isinstance(node, ast.Name) and node.id in _CONSTANTS:
        return _CONSTANTS[node.id]
    if (
        isinstance(node, ast.Call)
        and isinstance(node.func, ast.Name)
        and node.func.id in _FUNCTIONS
        and not node.keywords
    ):
        return _call_function(node.func.id, [_evaluate(argument) for argument in node.args])
    raise ValueError(f"this is no arithmetic: {ast.unparse(node)}")


def _operator(operators: dict[type, Callable[..., _Number]], node: ast.AST) -> Callable[..., _Number]:
    if type(node) not in operators:
        raise ValueError(f"this is no sign of arithmetic: {type(node).__name__}")
    return operators[type(node)]


def _call_function(name: str, arguments: list[_Number]) -> _Number:
    try:
        return _require_bounded(_FUNCTIONS[name](*arguments))
    except TypeError as error:
        raise ValueError(f"{name} does not take {len(arguments)} such numbers") from error


def _power(base: _Number, exponent: _Number) -> _Number:
    """Checks the size of the result first, since computing a huge power might take for ever."""
    if base and exponent * math.log10(abs(base)) > math.log10(_MAX_RESULT):
        raise ValueError("the result is too large")
    power = base**exponent
    if isinstance(power, complex) or cmath.isnan(power):
        raise ValueError("this has no real result")
    return _require_bounded(power)


def _require_bounded(number: _Number) -> _Number:
    if not abs(number) <= _MAX_RESULT:  # refuses NaN too
        raise ValueError("the result is too large")
    return number


def _format_number(number: _Number) -> str:
    """Integers as they are, fractions with at most _MAX_DIGITS significant digits."""
    return str(number) if isinstance(number, int) else f"{number:.{_MAX_DIGITS}g}"


TOOL = Tool(title="A calculator", sentence=__doc__, function=calculator)
