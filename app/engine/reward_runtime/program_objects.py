"""A program's side of its tests: it loads the program, and computes with the objects that the tests hold by number.

Whatever a program changes here, it only changes what its own functions say.
"""

from __future__ import annotations

import builtins
import contextlib
import operator
import os
import sys
from collections.abc import Callable, Mapping
from types import ModuleType
from typing import Any

from app.engine.reward_runtime.plain_values import decode, encode, plain_value
from app.engine.reward_runtime.remote_call import Disconnected, RemoteCalls

PROGRAM_NAME = "answer"  # __name__ of a program

# What tests do with two objects of a program, and with one.
BINARY_OPERATORS = (
    *("eq", "ne", "lt", "le", "gt", "ge", "add", "sub", "mul", "truediv", "floordiv", "mod", "pow", "matmul"),
    *("and_", "or_", "xor", "lshift", "rshift"),
)
UNARY_FUNCTIONS: dict[str, Callable[..., Any]] = {
    **{function.__name__: function for function in (len, iter, next, reversed, str, repr, bool, hash, float, int, abs, round)},
    **{name: getattr(operator, name) for name in ("index", "neg", "pos", "invert")},
}  # fmt: skip


def serve_program(connection: int) -> None:
    """Serves the calls of tests until they end, and then ends this process."""
    objects = _ProgramObjects()
    objects.calls = RemoteCalls(os.fdopen(connection, "rb"), os.fdopen(os.dup(connection), "wb"), _FUNCTIONS, objects)
    with contextlib.suppress(Disconnected):
        objects.calls.serve()
    os._exit(0)


class _TestFunction:
    """A function of a test, as the program sees it."""

    def __init__(self, objects: _ProgramObjects, reference: int):
        self._objects, self.reference = objects, reference

    def __call__(self, *arguments: Any, **options: Any) -> Any:
        assert self._objects.calls
        return self._objects.calls.call("call", self, *arguments, **options)


class _ProgramObjects:
    """The objects of a program that its tests hold, by number. They live as long as the program."""

    def __init__(self) -> None:
        self.calls: RemoteCalls | None = None
        self.exported: dict[int, object] = {}

    def export(self, value: object) -> dict[str, Any]:
        if isinstance(value, _TestFunction):
            return {"yours": value.reference}
        if isinstance(value, BaseException):
            return {"exception": self.export(type(value)), "arguments": [encode(a, self) for a in value.args]}
        self.exported[id(value)] = value
        reference: dict[str, Any] = {"mine": id(value)}
        if isinstance(value, type) and issubclass(value, BaseException):
            own_classes = [base for base in value.__mro__ if base.__module__ != "builtins"]
            self.exported |= {id(base): base for base in own_classes}
            reference["classes"] = [[id(base), base.__name__] for base in own_classes]
            reference["builtin"] = next(base.__name__ for base in value.__mro__ if base.__module__ == "builtins")
        return reference

    def resolve(self, reference: Mapping[str, Any]) -> object:
        if "yours" in reference:
            return self.exported[reference["yours"]]
        if "builtin" in reference:
            return getattr(builtins, reference["builtin"])
        if "exception" in reference:
            return decode(reference["exception"], self)(*[decode(a, self) for a in reference["arguments"]])
        return _TestFunction(self, reference["mine"])

    def is_own(self, kind: type) -> bool:
        return kind.__module__ == PROGRAM_NAME


# -- what tests may call ------------------------------------------------------------------------------------------------


def _load(source: str) -> bool:
    module = sys.modules[PROGRAM_NAME] = ModuleType(PROGRAM_NAME)
    exec(compile(source, PROGRAM_NAME, "exec"), module.__dict__)
    return True


def _find_names(names: list[str]) -> dict[str, object]:
    program = sys.modules[PROGRAM_NAME].__dict__
    return {name: program[name] for name in names if name in program}


def _call(function: Callable[..., Any], *arguments: Any, **options: Any) -> Any:
    return function(*arguments, **options)


def _enter(manager: Any) -> Any:
    return manager.__enter__()


def _exit(manager: Any, *error: Any) -> Any:
    return manager.__exit__(*error)


def _plain(value: Any) -> Any:
    if (plain := plain_value(value)) is None:
        raise TypeError("it extends no plain type")
    return plain


_FUNCTIONS: dict[str, Callable[..., Any]] = {
    **{name: getattr(operator, name) for name in (*BINARY_OPERATORS, "getitem", "setitem", "delitem")},
    **UNARY_FUNCTIONS,
    **{function.__name__: function for function in (getattr, setattr, delattr, isinstance, issubclass)},
    **{"load": _load, "find_names": _find_names, "call": _call, "enter": _enter, "exit": _exit, "plain": _plain},
}
