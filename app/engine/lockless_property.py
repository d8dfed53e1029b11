"""Cached property without the lock that `functools.cached_property` has in Python 3.11."""

from __future__ import annotations

from collections.abc import Callable
from typing import Generic, Self, TypeVar, overload

_OwnerT = TypeVar("_OwnerT")
_ResultT = TypeVar("_ResultT")


class lockless_cached_property(Generic[_OwnerT, _ResultT]):
    """As `functools.cached_property` is from Python 3.12 on: computed once for each object, and assignable.

    In 3.11 one lock is shared by all objects while a value is computed. Work that pauses in the middle
    (app/engine/cooperative.py) would hold this lock, and other requests that need the same property would wait for
    ever.
    """

    def __init__(self, function: Callable[[_OwnerT], _ResultT]):
        self.function, self.__doc__ = function, function.__doc__

    @overload
    def __get__(self, instance: None, owner: type[_OwnerT]) -> Self: ...

    @overload
    def __get__(self, instance: _OwnerT, owner: type[_OwnerT]) -> _ResultT: ...

    def __get__(self, instance: _OwnerT | None, owner: type[_OwnerT]) -> Self | _ResultT:
        if instance is None:
            return self
        name = self.function.__name__
        if name not in instance.__dict__:
            instance.__dict__[name] = self.function(instance)
        result: _ResultT = instance.__dict__[name]
        return result

    def __set__(self, instance: _OwnerT, result: _ResultT) -> None:
        instance.__dict__[self.function.__name__] = result

    def __delete__(self, instance: _OwnerT) -> None:
        instance.__dict__.pop(self.function.__name__, None)
