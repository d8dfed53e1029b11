"""Memo: a property worked out once for each object, without the lock that Python 3.11 holds for all objects while it is worked out."""

from __future__ import annotations

from typing import Any


class once(property):
    """As `functools.cached_property` is from Python 3.12 on. Work that gives way in the middle (app/engine/cooperative.py) would hold
    that lock against every other question, which then waits for it for ever."""

    def __get__(self, of: Any, owner: Any = None) -> Any:
        if of is None:
            return self
        name = self.fget.__name__
        if name not in of.__dict__:
            of.__dict__[name] = self.fget(of)
        return of.__dict__[name]

    def __set__(self, of: Any, value: Any) -> None:
        of.__dict__[self.fget.__name__] = value

    def __delete__(self, of: Any) -> None:
        of.__dict__.pop(self.fget.__name__, None)
