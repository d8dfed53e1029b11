"""What the trainers that TRL does not have share. They log as TRL's do, so that all other code treats them alike."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from functools import cached_property
from typing import TYPE_CHECKING

from app.engine.trainers.mixin_bases import TrainerBase

if TYPE_CHECKING:
    from peft import PeftConfig, PeftModel
    from torch import Tensor
    from transformers import PreTrainedModel, PreTrainedTokenizerBase, TrainingArguments


class StepMetricsMixin(TrainerBase):
    """Mixin over TRL's `_BaseTrainer` that adds the mean of each metric recorded in a step to the log."""

    num_tokens_seen = 0

    @cached_property
    def step_metrics(self) -> defaultdict[str, list[float]]:
        """{name: the values recorded since the last log}."""
        return defaultdict(list)

    def record_metrics(self, metrics: Mapping[str, Tensor | float]) -> None:
        """Metrics of this step by name, numbers or tensors of one element; several of the same name become their mean."""
        for name, metric in metrics.items():
            number = metric if isinstance(metric, float | int) else metric.detach()
            self.step_metrics[name].append(float(number))

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


def base_trainer_class() -> type:
    """TRL's `_BaseTrainer` with StepMetricsMixin, which the trainers that TRL does not have extend."""
    from trl.trainer.base_trainer import _BaseTrainer

    return type("BaseTrainer", (StepMetricsMixin, _BaseTrainer), {})


def with_adapter(
    model: PreTrainedModel, peft_config: PeftConfig | None, args: TrainingArguments | None = None
) -> PreTrainedModel | PeftModel:
    """The model with a new adapter where peft_config is given, and prepared for gradient checkpointing where args ask for it."""
    from peft import get_peft_model

    trained_model = model if peft_config is None else get_peft_model(model, peft_config)
    if args is not None and args.gradient_checkpointing and hasattr(trained_model, "peft_config"):
        trained_model.enable_input_require_grads()  # as TRL does: otherwise no gradient passes the frozen embedding
    return trained_model


def ensure_pad_token(tokenizer: PreTrainedTokenizerBase, model: PreTrainedModel) -> None:
    """Sets the padding token in tokenizer and model config; as in TRL, a tokenizer without one pads with its end-of-sequence token."""
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token
    model.config.get_text_config().pad_token_id = tokenizer.pad_token_id
