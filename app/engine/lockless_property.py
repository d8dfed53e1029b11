"""Cached property without the lock that `functools.cached_property` has in Python 3.11."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any


class lockless_cached_property(property):
    """As `functools.cached_property` is from Python 3.12 on: computed once for each object, and assignable.

    In 3.11 one lock is shared by all objects while a value is computed. Work that pauses in the middle
    (app/engine/cooperative.py) would hold this lock, and other requests that need the same property would wait for
    ever.
    """

    def __init__(self, function: Callable[[Any], Any]):
        super().__init__(function)
        self.function = function

    def __get__(self, instance: Any, owner: Any = None) -> Any:
        if instance is None:
            return self
        name = self.function.__name__
        if name not in instance.__dict__:
            instance.__dict__[name] = self.function(instance)
        return instance.__dict__[name]

    def __set__(self, instance: Any, value: Any) -> None:
        instance.__dict__[self.function.__name__] = value

    def __delete__(self, instance: Any) -> None:
        instance.__dict__.pop(self.function.__name__, None)
