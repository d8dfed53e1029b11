"""What SFT adds to TRL's trainer: one loss for all held-out curves, and batches without padding."""

from __future__ import annotations

from typing import TYPE_CHECKING

from app.engine.trainers.mixin_bases import TrainerBase

if TYPE_CHECKING:
    from datasets import Dataset
    from trl import SFTConfig, SFTTrainer


class NLLEvaluationMixin(TrainerBase):
    """Evaluates with the NLL loss whichever it trains with: DFT's also falls where a model gets worse."""

    args: SFTConfig

    def evaluate(
        self,
        eval_dataset: Dataset | None = None,
        ignore_keys: list[str] | None = None,
        metric_key_prefix: str = "eval",
    ) -> dict[str, float]:
        trained_loss_type, self.args.loss_type = self.args.loss_type, "nll"
        try:
            return super().evaluate(eval_dataset, ignore_keys, metric_key_prefix)
        finally:
            self.args.loss_type = trained_loss_type


SFT_MIXINS = (
    NLLEvaluationMixin,  # one loss for all held-out curves
)  # over TRL's SFTTrainer


def join_batches(trainer: SFTTrainer) -> None:
    """Has the collator put the examples of a batch into one row (padding-free). TRL's own setting refuses a maximum length,
    as it would not truncate then; here rows are truncated before it is set."""
    from trl.trainer.sft_trainer import DataCollatorForLanguageModeling

    assert isinstance(trainer.data_collator, DataCollatorForLanguageModeling)
    trainer.data_collator.padding_free = trainer.padding_free = True
