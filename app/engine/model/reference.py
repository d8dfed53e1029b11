"""Reference: the start that a model is held near, as TRL keeps it and as it should be."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from app.engine.job import Job


def anchored(trainer: type, job: Job) -> type:
    """TRL's GRPO or RLOO trainer, held near the very start.

    Where all weights are trained, TRL loads the start by its name alone: another revision than the pinned one, and without the rows
    of new tokens. Beside an adapter that goes on, it compares with a frozen copy of it, and forgets these rows too.
    """
    from app.engine.model.load_model import real_model

    class Anchored(trainer):
        def __init__(self, *args: Any, **kwargs: Any):
            with instead(sys.modules[trainer.__module__], "create_model_from_path", lambda *_, **__: real_model(job)):
                super().__init__(*args, **kwargs)
            copy_new_tokens(self.model)

    Anchored.__name__ = Anchored.__qualname__ = trainer.__name__
    return Anchored


@contextmanager
def instead(module: Any, name: str, own: Any) -> Iterator[None]:
    """While it lasts the module finds our own under this name."""
    theirs = getattr(module, name)
    setattr(module, name, own)
    try:
        yield
    finally:
        setattr(module, name, theirs)


def copy_new_tokens(model: Any) -> None:
    """Into TRL's frozen copy of an adapter, where there is one."""
    weights = dict(model.named_parameters())
    for name, weight in weights.items():
        if name.endswith(".default") and (frozen := weights.get(f"{name.removesuffix('default')}ref")) is not None:
            frozen.data.copy_(weight.data)
