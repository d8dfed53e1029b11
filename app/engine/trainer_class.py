"""Names of trainer classes that are extended at run time, so that error messages say which extension an object's class is."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

_ClassT = TypeVar("_ClassT", bound=type)


def named_after(trainer: type) -> Callable[[_ClassT], _ClassT]:
    """Class decorator for an extension of a trainer's class, which appends the name of the trainer that was extended first.

    `Caching` over `Resumable` over TRL's SFTTrainer becomes `CachingSFTTrainer`, with the qualified name
    `Caching.Resumable.SFTTrainer`. The libraries show these names in messages only: model cards use the attribute
    `_name`.
    """

    def rename(extension: _ClassT) -> _ClassT:
        first_trainer = trainer.__qualname__.rpartition(".")[2]
        extension.__qualname__ = f"{extension.__name__}.{trainer.__qualname__}"
        extension.__name__ += first_trainer
        return extension

    return rename
