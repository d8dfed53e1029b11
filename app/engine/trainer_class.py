"""Classes of trainers that are extended at run time: by mixins in one ordered list, under names that say how."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from app.engine.job import Job

_ClassT = TypeVar("_ClassT", bound=type)


def extended(trainer: type, mixins: Sequence[type], job: Job) -> type:
    """The trainer's class with these mixins, the outermost first: `super()` in each is the one behind it in the list.

    They find the job and its settings as `self.job` and `self.knobs`. `(RetryMixin, ReplayMixin)` over TRL's GRPOTrainer
    becomes `RetryGRPOTrainer`, with the qualified name `Retry.Replay.GRPOTrainer`.
    """
    mixin_names = [mixin.__name__.removesuffix("Mixin") for mixin in mixins]
    extension = type(mixin_names[0], (*mixins, trainer), {"job": job, "knobs": job.knobs})
    named_after(trainer)(extension)
    extension.__qualname__ = ".".join([*mixin_names, trainer.__qualname__])
    return extension


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
