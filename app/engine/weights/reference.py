"""Reference: the start that a model is held near, as TRL keeps it and as it should be."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any
from unittest.mock import patch

if TYPE_CHECKING:
    from app.engine.job import Job


def anchored(trainer: type, job: Job) -> type:
    """TRL's GRPO or RLOO trainer, held near the very start.

    Where all weights are trained, TRL loads the start by its name alone: another revision than the pinned one, and without the rows
    of new tokens. Beside an adapter that goes on, it compares with a frozen copy of it, and forgets these rows too.
    """
    from app.engine.weights.model import real_model

    class Anchored(trainer):
        def __init__(self, *args: Any, **kwargs: Any):
            with patch.object(sys.modules[trainer.__module__], "create_model_from_path", lambda *_, **__: real_model(job)):  # fmt: skip
                super().__init__(*args, **kwargs)
            copy_new_tokens(self.model)

    Anchored.__name__ = Anchored.__qualname__ = trainer.__name__
    return Anchored


def copy_new_tokens(model: Any) -> None:
    """Into TRL's frozen copy of an adapter, where there is one."""
    weights = dict(model.named_parameters())
    for name, weight in weights.items():
        if name.endswith(".default") and (frozen := weights.get(f"{name.removesuffix('default')}ref")) is not None:
            frozen.data.copy_(weight.data)
