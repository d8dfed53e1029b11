"""TRL's GRPO and RLOO trainers with what is added to both: the table of the mixins, and the construction."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from app.core.problems import Problem
from app.engine.generation.sampling import add_stop_tokens
from app.engine.model.reference import InitialReferenceMixin
from app.engine.trainer_class import extended
from app.engine.trainers.group_rl.replay_buffer import ReplayMixin
from app.engine.trainers.group_rl.resume import ResumeMixin
from app.engine.trainers.group_rl.retry_failed_prompts import ROW_INDEX_COLUMN, RetryMixin
from app.engine.trainers.group_rl.rollout_logging import LoggedMetricsMixin, RolloutLoggingMixin
from app.engine.trainers.group_rl.scoring import ScoringMixin
from app.engine.trainers.group_rl.zero_variance_groups import ZeroVarianceMixin

if TYPE_CHECKING:
    from datasets import Dataset
    from trl import GRPOConfig, RLOOConfig

    from app.engine.contracts import Trainer
    from app.engine.job import Job

# The outermost first: `super()` in each is the one below it, and in the last TRL's trainer.
GROUP_MIXINS = (
    RolloutLoggingMixin,  # shows a few completions with their rewards as events of the run
    LoggedMetricsMixin,  # leaves metrics of TRL out of the log that say little
    RetryMixin,  # samples prompts again later at which every completion failed
    ReplayMixin,  # puts earlier groups in the place of those without advantage
    ZeroVarianceMixin,  # skips and counts groups without advantage
    ScoringMixin,  # leaves completions out on which a reward failed
    ResumeMixin,  # saves the rollouts of an unfinished round with each checkpoint
    InitialReferenceMixin,  # makes the start of the run the reference model
)


def build_group_trainer(
    job: Job, trainer: type, args: GRPOConfig | RLOOConfig, mixins: tuple[type, ...] = GROUP_MIXINS, **kwargs: Any
) -> Trainer:
    """TRL's GRPO or RLOO trainer, extended by `mixins`, with the spec's rewards."""
    completions_per_round = args.generation_batch_size or 0  # TRL fills it in
    require_enough_prompts(job, completions_per_round // job.knobs.attempts)
    _require_repeatable_prompts(job)
    add_stop_tokens(job.model, job.tokenizer, job.knobs.stop)
    trainer_class = extended(trainer, mixins, job)
    return job.trainer(trainer_class, args, reward_funcs=job.rewards(), train_dataset=_train_dataset(job), **kwargs)


def _train_dataset(job: Job) -> Dataset:
    """The training rows, with their indices where failed prompts are retried."""
    dataset: Dataset = job.data.train
    if job.knobs.reroll_after < 1 and not job.preview:
        return dataset.add_column(ROW_INDEX_COLUMN, [*range(len(dataset))])
    return dataset


def require_enough_prompts(job: Job, num_needed: int) -> None:
    """Raises Problem for fewer prompts than one round needs: a last round that is not full is dropped, so none would be left."""
    num_prompts = len(job.data.train)
    if job.max_rows is None and num_prompts < num_needed:
        raise Problem(
            f"Each round of answers asks {num_needed} different prompts, and there are {num_prompts}.",
            advice="Make the batch smaller, try more attempts at each prompt, or bring more prompts.",
        )


def _require_repeatable_prompts(job: Job) -> None:
    """Raises Problem where prompts with images should be replayed or retried."""
    if {"image", "images"} & set(job.data.train.column_names) and (job.knobs.replay or job.knobs.reroll_after < 1):
        raise Problem(
            "Prompts with pictures cannot be learned from again or tried again later.",
            advice="Set replay to 0 and reroll_after to 1.",
        )
