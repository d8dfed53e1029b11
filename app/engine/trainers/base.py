"""Base class of the trainers that TRL does not have. It logs as TRL's do, so that all other code treats them alike."""

from __future__ import annotations

from collections import defaultdict
from typing import Any


def base_trainer_class() -> type:
    """A class between TRL's `_BaseTrainer` and a trainer here: it adds the mean of each recorded metric to the log."""
    from trl.trainer.base_trainer import _BaseTrainer

    class BaseTrainer(_BaseTrainer):
        def __init__(self, **kwargs: Any):
            self.step_metrics: dict[str, list[float]] = defaultdict(list)
            self.num_tokens_seen = 0
            super().__init__(**kwargs)

        def record_metrics(self, metrics: dict[str, Any]) -> None:
            """Metrics of this step by name; several of the same name become their mean."""
            for name, metric in metrics.items():
                self.step_metrics[name].append(float(metric.detach() if hasattr(metric, "detach") else metric))

        def log_metric(self, name: str, value: float) -> None:
            """The function that TRL passes to rewards, so that they can log metrics of their own."""
            self.record_metrics({name: value})

        def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
            means = {name: sum(metrics) / len(metrics) for name, metrics in self.step_metrics.items()}
            if self.model.training:
                logs.update(means | {"num_tokens": self.num_tokens_seen})
            else:
                logs.update({f"eval_{name}": mean for name, mean in means.items()})
            super().log(logs, start_time)
            self.step_metrics.clear()

    return BaseTrainer


def with_adapter(model: Any, peft_config: Any, args: Any) -> Any:
    """The model with a new adapter where peft_config is given, and prepared for gradient checkpointing where args ask for it."""
    if peft_config is not None:
        from peft import get_peft_model

        model = get_peft_model(model, peft_config)
    if args.gradient_checkpointing and hasattr(model, "peft_config"):
        model.enable_input_require_grads()  # as TRL does: otherwise no gradient passes the frozen embedding
    return model


def ensure_pad_token(tokenizer: Any, model: Any) -> None:
    """Sets the padding token in tokenizer and model config; as in TRL, a tokenizer without one pads with its end-of-sequence token."""
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token
    model.config.get_text_config().pad_token_id = tokenizer.pad_token_id
