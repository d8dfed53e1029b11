"""Construction of the two EBFT trainers from a job's settings and rows."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypedDict, Unpack

from app.core.problems import Problem
from app.data.rows import Row
from app.engine.contracts import Trainer
from app.engine.datasets.load import build_table
from app.engine.generation.sampling import add_stop_tokens, sampling_arguments, sampling_settings
from app.engine.job import Job
from app.engine.preview.findings import left_out_text
from app.engine.trainer_class import extended
from app.engine.trainers import base
from app.engine.trainers.ebft import prompt_rows
from app.engine.trainers.ebft.blocks import BlockPlan
from app.engine.trainers.ebft.config import EbftConfig
from app.engine.trainers.ebft.feature_rewards import RewardWeights
from app.engine.trainers.ebft.features import FeatureNetwork, frozen_copy
from app.engine.trainers.ebft.strided import StridedMixin
from app.engine.trainers.ebft.structured import StructuredMixin, rollout_conversations
from app.engine.trainers.ebft.tokenized_prompts import prompt_tokenizer
from app.engine.trainers.group_rl.rollout_logging import RolloutLoggingMixin

if TYPE_CHECKING:
    from datasets import Dataset
    from transformers import TrainingArguments
    from trl.trainer.grpo_trainer import RolloutFunc

# Of each list the outermost first: `super()` in each is the one below it, and in the last the trainer that it extends.
STRUCTURED_MIXINS = (  # over TRL's GRPOTrainer: generation, advantages and the clipped loss
    RolloutLoggingMixin,  # shows a few completions with their rewards as events of the run
    StructuredMixin,  # the reward by features, how long an attempt may get, and cross-entropy on the references
)
STRIDED_MIXINS = (  # over the base trainer: the mean of each metric recorded in a step
    RolloutLoggingMixin,  # shows a few blocks with their rewards as events of the run
    StridedMixin,  # the batches of texts, and how their blocks are generated, scored and learned from
)


class _ModeArguments(TypedDict, total=False):
    """What only one of the two trainers gets, beside its rows."""

    train_dataset: Dataset
    length_factor: float
    rollout_func: RolloutFunc | None


def build_structured(job: Job) -> Trainer:
    """TRL's GRPOTrainer on prompts with reference completions. Raises Problem when there is one attempt only."""
    from trl import GRPOConfig, GRPOTrainer

    knobs = job.knobs
    if knobs.attempts < 2:
        raise Problem(
            "Whole answers are compared with one another, so one attempt is too few.", advice="Try 4 attempts."
        )
    _replace_training_rows(job, *prompt_rows.expand_prompts(job.data.train, knobs.turns))
    args = job.arguments(
        GRPOConfig,
        per_device_train_batch_size=knobs.batch_size * knobs.attempts,
        num_generations=knobs.attempts,
        max_completion_length=knobs.max_completion_length,
        loss_type=knobs.loss,
        epsilon=knobs.clip,
        chat_template_kwargs=job.template_arguments,
        **sampling_arguments(knobs),
    )
    return _build_trainer(
        job,
        extended(GRPOTrainer, STRUCTURED_MIXINS, job),
        args,
        train_dataset=job.data.train.rename_column("completion", "truth"),
        length_factor=knobs.answer_length,
        rollout_func=rollout_conversations if knobs.turns == "conversation" else None,
    )


def build_strided(job: Job) -> Trainer:
    """Our own trainer on tokenized texts. Raises Problem when the model or the settings do not allow blocks."""
    from transformers import TrainingArguments

    _require_block_support(job)
    tokenizer = prompt_tokenizer(job.model, job.tokenizer)
    documents, dropped = prompt_rows.tokenize_documents(
        job.data.train, tokenizer, job.knobs.turns, _ebft_config(job).plan
    )
    _replace_training_rows(job, [document.raw_row for document in documents], dropped)
    args = job.arguments(TrainingArguments, remove_unused_columns=False)
    trainer_class = extended(base.base_trainer_class(), STRIDED_MIXINS, job)
    return _build_trainer(job, trainer_class, args, train_dataset=prompt_rows.to_dataset(documents))


def _build_trainer(
    job: Job, trainer_class: type, args: TrainingArguments, **mode_arguments: Unpack[_ModeArguments]
) -> Trainer:
    """The trainer with what both modes share."""
    add_stop_tokens(job.model, job.tokenizer, job.knobs.stop)
    return job.trainer(
        trainer_class,
        args,
        ebft_config=_ebft_config(job),
        feature_network=FeatureNetwork(job.knobs.layers, job.knobs.pooling, frozen_copy(job)),
        prompt_tokenizer=prompt_tokenizer(job.model, job.tokenizer),
        **mode_arguments,
    )


def _replace_training_rows(job: Job, rows: list[Row], dropped: dict[str, int]) -> None:
    """Makes `rows`, one for each answer, the job's training rows; counts and reports those left out.

    Raises Problem when none is left.
    """
    if not rows:
        reasons = ", ".join(f"{count} × {reason}" for reason, count in dropped.items())
        raise Problem(
            f"No usable rows: all were left out ({reasons}).",
            advice="Check the examples, or shorten context and pieces.",
            reason="no_rows",
        )
    job.data.train = build_table(rows)
    job.data.dropped.update(dropped)
    for reason, count in dropped.items():
        job.warn(left_out_text(count, reason))


def _ebft_config(job: Job) -> EbftConfig:
    knobs = job.knobs
    plan = BlockPlan(knobs.stride, knobs.context, knobs.generate, knobs.skip, knobs.context_only, knobs.max_length)
    weights = RewardWeights(knobs.alignment, knobs.diversity, knobs.whitening)
    return EbftConfig(
        plan,
        weights,
        sampling_settings(knobs),
        knobs.attempts,
        knobs.estimator,
        knobs.rl_weight,
        knobs.ce_weight,
    )


def _require_block_support(job: Job) -> None:
    """Raises Problem when blocks cannot be trained: all layers must attend to whatever the mask allows."""
    if job.knobs.repetition_penalty != 1:
        raise Problem(
            "Short pieces of text know no repetition_penalty: they are too short to repeat much.", advice="Set it to 1."
        )
    if job.knobs.turns == "conversation":
        raise Problem(
            "Short pieces are tried in one answer at a time, not in whole conversations.",
            advice="Learn from all answers.",
        )
    config = job.model.config.get_text_config()
    layer_types = {*(getattr(config, "layer_types", None) or ["full_attention"])}
    if layer_types != {"full_attention"}:
        raise Problem(
            "Short pieces can be tried only in models whose layers all see the whole text, and some layers of this one do not.",
            advice="Bring questions and answers to try whole answers, or choose another model.",
        )
