"""Reference model of GRPO and RLOO: the exact weights that the run starts from, where TRL would load others."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from app.engine.trainer_class import named_after

if TYPE_CHECKING:
    from app.engine.job import Job


def with_initial_reference(trainer: type, job: Job) -> type:
    """TRL's GRPO or RLOO trainer with the exact start of the run as its reference.

    Where all weights are trained, TRL loads the reference by its name alone: not the pinned revision, and without the
    embedding rows of new tokens. Where an earlier adapter is trained further, TRL's reference is a frozen copy of it,
    which lacks these rows too."""
    from app.engine.model.load_model import real_model

    @named_after(trainer)
    class Anchored(trainer):
        def __init__(self, *args: Any, **kwargs: Any):
            with _patched(sys.modules[trainer.__module__], "create_model_from_path", lambda *_, **__: real_model(job)):
                super().__init__(*args, **kwargs)
            copy_new_tokens(self.model)

    return Anchored


@contextmanager
def _patched(module: Any, name: str, replacement: Any) -> Iterator[None]:
    """Replaces an attribute of a module inside the `with` block."""
    original = getattr(module, name)
    setattr(module, name, replacement)
    try:
        yield
    finally:
        setattr(module, name, original)


def copy_new_tokens(model: Any) -> None:
    """Copies the embedding rows of new tokens into TRL's frozen copy of an adapter, where there is one."""
    weights = dict(model.named_parameters())
    for name, weight in weights.items():
        if name.endswith(".default") and (frozen := weights.get(f"{name.removesuffix('default')}ref")) is not None:
            frozen.data.copy_(weight.data)
