"""Names of trainer classes that are extended at run time, so that messages and debuggers say which extensions an object has."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

_ClassT = TypeVar("_ClassT", bound=type)


def named_after(trainer: type) -> Callable[[_ClassT], _ClassT]:
    """Class decorator that appends the extended trainer's name: `Resumable` of TRL's SFTTrainer becomes `ResumableSFTTrainer`.

    The libraries use a trainer's class name only in messages; model cards use its attribute `_name`.
    """

    def rename(extension: _ClassT) -> _ClassT:
        extension.__name__ = extension.__qualname__ = f"{extension.__name__}{trainer.__name__}"
        return extension

    return rename
