"""Ours: what the trainers share that TRL no longer has; they look like TRL's from outside, so that everything else treats them alike."""

from __future__ import annotations

from collections import defaultdict
from typing import Any


def base() -> type:
    """A class between TRL's `_BaseTrainer` and a trainer of ours: means of what was measured join each line of the log."""
    from trl.trainer.base_trainer import _BaseTrainer

    class Ours(_BaseTrainer):
        def __init__(self, **everything: Any):
            self.measured: dict[str, list[float]] = defaultdict(list)
            self.tokens = 0
            super().__init__(**everything)

        def note(self, values: dict[str, Any]) -> None:
            """Numbers of this step, by name; several of one name become their mean."""
            for name, value in values.items():
                self.measured[name].append(float(value.detach() if hasattr(value, "detach") else value))

        def log_metric(self, name: str, value: float) -> None:
            """What TRL hands to rewards, so that they can tell a number of their own."""
            self.note({name: value})

        def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
            mine = {name: sum(values) / len(values) for name, values in self.measured.items()}
            if self.model.training:
                logs.update(mine | {"num_tokens": self.tokens})
            else:
                logs.update({f"eval_{name}": value for name, value in mine.items()})
            super().log(logs, start_time)
            self.measured.clear()

    return Ours


def with_adapter(model: Any, config: Any, args: Any) -> Any:
    """The model with a fresh adapter, if there is to be one; and ready for computing parts twice, if asked for."""
    if config is not None:
        from peft import get_peft_model

        model = get_peft_model(model, config)
    if args.gradient_checkpointing and hasattr(model, "peft_config"):
        model.enable_input_require_grads()  # as TRL does: the frozen embedding would end the path of the gradient
    return model


def require_pad(tokenizer: Any, model: Any) -> None:
    """Texts of a batch are filled up with some token; as in TRL the end token, where the tokenizer has none of its own."""
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token
    model.config.get_text_config().pad_token_id = tokenizer.pad_token_id
