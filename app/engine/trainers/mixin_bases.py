"""Base classes of trainer mixins for the type checker, so that it knows the attributes of the trainer that a mixin extends.

At run time each is `object`: TRL is imported only where a trainer is built, and the mixins are put in front of its class
there; see `extended` in app/engine/trainer_class.py. The attributes below are narrower here than in the libraries: our
jobs give every trainer a model, a tokenizer and rows.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from datasets import Dataset
    from torch import Tensor
    from transformers import PreTrainedModel, PreTrainedTokenizerBase, Trainer
    from trl import DistillationTrainer, DPOConfig, DPOTrainer, GRPOConfig, GRPOTrainer
    from trl.experimental.cpo import CPOTrainer
    from trl.experimental.gold import GOLDTrainer
    from trl.experimental.online_dpo import OnlineDPOTrainer
    from trl.experimental.sdft import SDFTTrainer

    from app.engine.reward_runtime.error_policy import RewardErrorPolicy

    Batch = dict[str, Tensor]  # one row for each completion; tensors of no dimension are about the whole batch

    class TrainerBase(Trainer):
        """Any trainer of transformers or TRL."""

        model: PreTrainedModel
        processing_class: PreTrainedTokenizerBase
        train_dataset: Dataset

    class DPOTrainerBase(DPOTrainer):
        """TRL's DPO and KTO trainers, as far as they are alike."""

        model: PreTrainedModel
        ref_model: PreTrainedModel
        args: DPOConfig

    class CPOTrainerBase(CPOTrainer):
        """TRL's CPO and ORPO trainers, as far as they are alike."""

    class GRPOTrainerBase(GRPOTrainer):
        """TRL's GRPO and RLOO trainers, as far as they are alike."""

        model: PreTrainedModel
        args: GRPOConfig
        train_dataset: Dataset
        num_generations: int
        reward_funcs: list[RewardErrorPolicy]  # type: ignore[assignment]  # TRL takes models too; lists are invariant
        _tokenizer: PreTrainedTokenizerBase
        _buffered_inputs: list[Batch] | None  # type: ignore[assignment]  # TRL assigns None first

    class OnlineDPOTrainerBase(OnlineDPOTrainer):
        """TRL's online DPO trainer."""

        model: PreTrainedModel
        processing_class: PreTrainedTokenizerBase
        reward_funcs: list[RewardErrorPolicy]  # type: ignore[assignment]  # as above

    class DistillationTrainerBase(DistillationTrainer):
        """TRL's trainer of on-policy distillation."""

        model: PreTrainedModel

    class SDFTTrainerBase(SDFTTrainer):
        """TRL's trainer of self-distillation."""

        model: PreTrainedModel
        teacher_model: PreTrainedModel

    class GOLDTrainerBase(GOLDTrainer):
        """TRL's trainer of cross-tokenizer distillation."""

        model: PreTrainedModel

else:
    TrainerBase = DPOTrainerBase = CPOTrainerBase = GRPOTrainerBase = OnlineDPOTrainerBase = object
    DistillationTrainerBase = SDFTTrainerBase = GOLDTrainerBase = object
