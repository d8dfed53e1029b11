"""Reference model of GRPO and RLOO: the exact weights that the run starts from, where TRL would load others."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import TYPE_CHECKING, Any

from app.engine.trainers.mixin_bases import GRPOTrainerBase

if TYPE_CHECKING:
    from torch.nn import Module
    from transformers import PreTrainedModel

    from app.engine.job import Job


class InitialReferenceMixin(GRPOTrainerBase):
    """Gives TRL's GRPO or RLOO trainer the exact start of the run as its reference.

    Where all weights are trained, TRL loads the reference by its name alone: not the pinned revision, and without the
    embedding rows of new tokens. Where an earlier adapter is trained further, TRL's reference is a frozen copy of it,
    which lacks these rows too."""

    job: Job

    def __init__(self, *args: Any, **kwargs: Any):
        from app.engine.model.load_model import real_model

        trl_class = next(parent for parent in type(self).__mro__ if parent.__module__.startswith("trl."))
        trl_module = sys.modules[trl_class.__module__]
        with _patched(trl_module, "create_model_from_path", lambda *_, **__: real_model(self.job)):
            super().__init__(*args, **kwargs)
        copy_new_tokens(self.model)


@contextmanager
def _patched(module: ModuleType, name: str, replacement: Callable[..., PreTrainedModel]) -> Iterator[None]:
    """Replaces an attribute of a module inside the `with` block."""
    original = getattr(module, name)
    setattr(module, name, replacement)
    try:
        yield
    finally:
        setattr(module, name, original)


def copy_new_tokens(model: Module) -> None:
    """Copies the embedding rows of new tokens into TRL's frozen copy of an adapter, where there is one."""
    weights = dict(model.named_parameters())
    for name, weight in weights.items():
        if name.endswith(".default") and (frozen := weights.get(f"{name.removesuffix('default')}ref")) is not None:
            frozen.data.copy_(weight.data)
