"""A program as its tests see it: its functions and objects stay in the program's process, and compare by their values.

An object of the program equals a plain value, and counts as a number, only by the plain type that its class extends; its
own methods are not asked, as they could agree to anything and would be told what the test expects. Two objects of
the program are compared and added by the program. What a test asks of the program alone is the program's word.
"""

from __future__ import annotations

import ast
import builtins
import contextlib
import importlib
import json
import operator
import os
import sys
from collections.abc import Callable, Mapping
from typing import Any

from app.engine.reward_runtime.plain_values import decode, encode
from app.engine.reward_runtime.program_objects import BINARY_OPERATORS, UNARY_FUNCTIONS
from app.engine.reward_runtime.remote_call import RemoteCalls

_READABLE_DUNDERS = ("__name__", "__doc__", "__dict__")
_COMPARISONS = BINARY_OPERATORS[:6]


class ProgramObject:
    """An object in the program's process."""

    __slots__ = ("tunesmith_calls", "tunesmith_reference")  # names that no program uses for its own attributes

    def __init__(self, calls: RemoteCalls, reference: int):
        object.__setattr__(self, "tunesmith_calls", calls)
        object.__setattr__(self, "tunesmith_reference", reference)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__") and name not in _READABLE_DUNDERS:  # how libraries look for protocols
            raise AttributeError(name)
        return _ask("getattr", self, name)

    def __setattr__(self, name: str, value: object) -> None:
        _ask("setattr", self, name, value)

    def __delattr__(self, name: str) -> None:
        _ask("delattr", self, name)

    def __call__(self, *arguments: Any, **options: Any) -> Any:
        return _ask("call", self, *arguments, **options)

    def __contains__(self, value: object) -> bool:
        return any(item == value for item in self)  # type: ignore[attr-defined]

    def __instancecheck__(self, value: object) -> bool:
        return isinstance(value, ProgramObject) and bool(_ask("isinstance", value, self))

    def __subclasscheck__(self, value: type) -> bool:
        return isinstance(value, ProgramObject) and bool(_ask("issubclass", value, self))


def _ask(function: str, program_object: ProgramObject, *arguments: Any, **options: Any) -> Any:
    calls: RemoteCalls = object.__getattribute__(program_object, "tunesmith_calls")
    return calls.call(function, program_object, *arguments, **options)


def _reference(program_object: ProgramObject) -> int:
    reference: int = object.__getattribute__(program_object, "tunesmith_reference")
    return reference


def _plain(program_object: ProgramObject) -> Any:
    """The plain value of an object of the program; NotImplemented where its class extends no plain type."""
    try:
        value = _ask("plain", program_object)
    except TypeError:
        return NotImplemented
    return NotImplemented if isinstance(value, ProgramObject) else value


def _forward(name: str) -> Callable[..., Any]:
    def method(self: ProgramObject, *arguments: Any) -> Any:
        return _ask(name, self, *arguments)

    return method


def _binary_method(name: str, is_reflected: bool = False) -> Callable[[ProgramObject, Any], Any]:
    compute: Callable[[Any, Any], Any] = getattr(operator, name)

    def method(self: ProgramObject, other: Any) -> Any:
        if isinstance(other, ProgramObject):
            return _ask(name, self, other)
        value = _plain(self)
        if value is NotImplemented:
            return NotImplemented
        return compute(other, value) if is_reflected else compute(value, other)

    return method


def _add_methods() -> None:
    for name in (*UNARY_FUNCTIONS, "getitem", "setitem", "delitem", "enter", "exit"):
        setattr(ProgramObject, f"__{name}__", _forward(name))
    for name in BINARY_OPERATORS:
        plain_name = name.rstrip("_")
        setattr(ProgramObject, f"__{plain_name}__", _binary_method(name))
        if name not in _COMPARISONS:
            setattr(ProgramObject, f"__r{plain_name}__", _binary_method(name, is_reflected=True))


_add_methods()


class _TestObjects:
    """The program's objects that tests hold, and the functions of tests that the program was given."""

    def __init__(self) -> None:
        self.calls: RemoteCalls | None = None
        self.functions: dict[int, Callable[..., Any]] = {}
        self.exception_classes: dict[int, type[BaseException]] = {}  # by their number in the program

    def export(self, value: object) -> dict[str, Any]:
        if isinstance(value, ProgramObject):
            return {"yours": _reference(value)}
        if isinstance(value, BaseException):
            return {"exception": self.export(type(value)), "arguments": [encode(a, self) for a in value.args]}
        for reference, exception_class in self.exception_classes.items():
            if value is exception_class:
                return {"yours": reference}
        if (name := _builtin_name(value)) is not None:
            return {"builtin": name}
        if hasattr(type(value), "__next__"):  # such as a generator or zip
            return {"list": [encode(item, self) for item in value]}  # type: ignore[attr-defined]
        if isinstance(value, type) and issubclass(value, BaseException):
            return self.export(value.__base__)
        if not callable(value):
            raise TypeError(f"a {type(value).__name__} cannot be given to a program")
        self.functions[id(value)] = value
        return {"mine": id(value)}

    def resolve(self, reference: Mapping[str, Any]) -> object:
        if "yours" in reference:
            return self.functions[reference["yours"]]
        if "exception" in reference:
            exception_class = self._exception_class(reference["exception"])
            return exception_class(*[decode(a, self) for a in reference["arguments"]])
        if "classes" in reference:
            return self._exception_class(reference)
        assert self.calls
        return ProgramObject(self.calls, int(reference["mine"]))

    def is_own(self, kind: type) -> bool:
        return False

    def _exception_class(self, reference: Mapping[str, Any]) -> type[BaseException]:
        """The class here for an exception class of the program, so that `except` of a test catches it."""
        exception_class = getattr(builtins, str(reference["builtin"]))
        if not (isinstance(exception_class, type) and issubclass(exception_class, BaseException)):
            raise TypeError("no exception")
        for number, name in reversed(reference["classes"]):
            base = exception_class
            exception_class = self.exception_classes.setdefault(int(number), type(str(name), (base,), {}))
        return exception_class


def _builtin_name(value: object) -> str | None:
    name = getattr(value, "__name__", None)
    return name if isinstance(name, str) and getattr(builtins, name, None) is value else None


# -- tests --------------------------------------------------------------------------------------------------------------


def count_passing_tests(program: int, report: int) -> None:
    """Reads [source, tests] from `report` and writes how many tests pass; `program` leads to the program's process."""
    objects = _TestObjects()
    functions = {"call": lambda function, *arguments, **options: function(*arguments, **options)}
    objects.calls = calls = RemoteCalls(os.fdopen(program, "rb"), os.fdopen(os.dup(program), "wb"), functions, objects)
    with os.fdopen(os.dup(report), "rb") as request:
        source, tests = json.loads(request.readline())
    count = 0
    with contextlib.suppress(BaseException):  # a model's program, which may also exit
        calls.call("load", source)
        count = sum(_passes(test, calls) for test in tests)
    os.write(report, str(count).encode())


def _passes(test: str, calls: RemoteCalls) -> bool:
    with contextlib.suppress(BaseException):  # as above
        exec(compile(test, "test", "exec"), {"__name__": "test"} | _names_for(test, calls))
        return calls.is_connected
    return False


def _names_for(test: str, calls: RemoteCalls) -> dict[str, Any]:
    """The program's names that a test uses. Raises SyntaxError.

    Names of Python itself and of standard modules mean these, so that a program cannot replace what the test
    compares with; they mean the program's only in a test that uses no other name of the program.
    """
    used_names = sorted({node.id for node in ast.walk(ast.parse(test)) if isinstance(node, ast.Name)})
    names: dict[str, Any] = calls.call("find_names", used_names)
    if any(not _is_standard(name) for name in names):
        names = {name: value for name, value in names.items() if not hasattr(builtins, name)}
        names |= {name: importlib.import_module(name) for name in names if _is_standard(name)}
    return names


def _is_standard(name: str) -> bool:
    return hasattr(builtins, name) or name in sys.stdlib_module_names
