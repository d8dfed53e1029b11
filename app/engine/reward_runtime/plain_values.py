"""Values as JSON between two processes that do not trust each other: plain types are copied, anything else is a number.

Nothing that arrives can run code: a plain value is built from its parts, and an object stays in its process.
"""

from __future__ import annotations

import numbers
from collections import Counter, OrderedDict, deque
from collections.abc import Callable, Mapping
from datetime import date, datetime, timedelta
from decimal import Decimal
from fractions import Fraction
from typing import Any, Protocol

_MAX_JSON_INT = 1 << 53
_COLLECTIONS: dict[str, type] = {kind.__name__: kind for kind in (list, tuple, set, frozenset, deque)}
_MAPPINGS: dict[str, type] = {kind.__name__: kind for kind in (dict, Counter, OrderedDict)}
# {name of a type: (the type, its value as JSON, a value from this JSON)}
_ATOMS: dict[str, tuple[type, Callable[[Any], Any], Callable[[Any], Any]]] = {
    "int": (int, hex, lambda digits: int(digits, 16)),  # decimal digits are limited in number
    "bytes": (bytes, bytes.hex, bytes.fromhex),
    "bytearray": (bytearray, bytearray.hex, bytearray.fromhex),
    "complex": (complex, lambda value: [value.real, value.imag], lambda fields: complex(*fields)),
    "Fraction": (Fraction, str, Fraction),
    "Decimal": (Decimal, str, Decimal),
    "range": (range, lambda value: [value.start, value.stop, value.step], lambda fields: range(*fields)),
    "date": (date, date.isoformat, date.fromisoformat),
    "datetime": (datetime, datetime.isoformat, datetime.fromisoformat),
    "timedelta": (timedelta, lambda value: [value.days, value.seconds, value.microseconds], lambda fields: timedelta(*fields)),
}  # fmt: skip
_ATOM_NAMES = {kind: name for name, (kind, _, _) in _ATOMS.items()}


class Objects(Protocol):
    """How one side treats what is no plain value."""

    def export(self, value: object) -> dict[str, Any]:
        """The JSON object that stands for a value. Raises TypeError where it cannot leave this process."""
        ...

    def resolve(self, reference: Mapping[str, Any]) -> object:
        """What a JSON object of the other side stands for. Raises ValueError where it stands for nothing."""
        ...

    def is_own(self, kind: type) -> bool:
        """Whether values of this type are exported even where the type extends a plain one."""
        ...


def encode(value: Any, objects: Objects) -> object:
    """A value as JSON. Raises TypeError, and RecursionError for a list that contains itself."""
    kind = type(value)
    if value is None or kind in (bool, str, float) or (kind is int and abs(value) < _MAX_JSON_INT):
        return value
    if kind in _ATOM_NAMES:
        return {_ATOM_NAMES[kind]: _ATOMS[_ATOM_NAMES[kind]][1](value)}
    if _COLLECTIONS.get(kind.__name__) is kind:
        return {kind.__name__: [encode(item, objects) for item in value]}
    if _MAPPINGS.get(kind.__name__) is kind:
        return {kind.__name__: [[encode(key, objects), encode(item, objects)] for key, item in value.items()]}
    if not objects.is_own(kind) and (plain := plain_value(value)) is not None:
        return encode(plain, objects)
    return objects.export(value)


def decode(encoded: Any, objects: Objects) -> Any:
    """The value that `encode` of the other process stands for. Raises whatever the type's constructor raises."""
    if not isinstance(encoded, dict):
        return encoded
    if len(encoded) == 1:
        [(name, content)] = encoded.items()
        if name in _COLLECTIONS:
            return _COLLECTIONS[name](decode(item, objects) for item in content)
        if name in _MAPPINGS:
            return _MAPPINGS[name]({decode(key, objects): decode(item, objects) for key, item in content})
        if name in _ATOMS:
            return _ATOMS[name][2](content)
    return objects.resolve(encoded)


def plain_value(value: Any) -> Any:
    """The value of a plain type that this one extends or, for a number of a library, equals; None where there is none.

    By the plain type's own methods: the class of the value may have any of its own.
    """
    if isinstance(value, int | float):
        return (int if isinstance(value, int) else float).__pos__(value)  # type: ignore[arg-type]
    if isinstance(value, str):
        return str.__str__(value)
    if isinstance(value, bytes):
        return bytes.__getitem__(value, slice(None))
    if isinstance(value, dict):
        return dict(dict.items(value))
    for base in (list, tuple, set, frozenset, deque):
        if isinstance(value, base):
            return base(base.__iter__(value))  # type: ignore[arg-type]
    if isinstance(value, numbers.Real):
        return int(value) if isinstance(value, numbers.Integral) else float(value)
    return None
