"""Building: a method's settings and rows become one of the two trainers."""

from __future__ import annotations

from typing import Any

from app.core.problems import Problem
from app.engine.datasets.load import table
from app.engine.generation.sampling import add_stops, arguments
from app.engine.job import Job
from app.engine.model.device import ROOMY, activation_bytes
from app.engine.preview.findings import left_out
from app.engine.trainers import base
from app.engine.trainers.ebft import prompt_rows
from app.engine.trainers.ebft.blocks import Plan
from app.engine.trainers.ebft.config import Settings
from app.engine.trainers.ebft.feature_rewards import Weights
from app.engine.trainers.ebft.features import Network, frozen_copy
from app.engine.trainers.ebft.strided import Strided
from app.engine.trainers.ebft.structured import Structured, in_turn
from app.engine.trainers.ebft.tokenized_prompts import words_of
from app.engine.trainers.group_rl.rollout_logging import telling


def structured(job: Job) -> Any:
    """TRL's GRPOTrainer on questions, each with its true answer."""
    from trl import GRPOConfig, GRPOTrainer

    knobs = job.knobs
    if knobs.attempts < 2:
        raise Problem(
            "Whole answers are compared with one another, so one attempt is too few.", advice="Try 4 attempts."
        )
    keep(job, *prompt_rows.questions(job.data.train, knobs.turns))
    args = job.arguments(
        GRPOConfig,
        per_device_train_batch_size=knobs.batch_size * knobs.attempts,
        num_generations=knobs.attempts,
        max_completion_length=knobs.max_completion_length,
        loss_type=knobs.loss,
        epsilon=knobs.clip,
        chat_template_kwargs=job.template_arguments,
        gradient_checkpointing=crowded(job),
        **arguments(knobs),
    )
    own = {"train_dataset": job.data.train.rename_column("completion", "truth"), "times": knobs.answer_length}
    if knobs.turns == "conversation":
        own["rollout_func"] = in_turn
    return trainer(job, type("StructuredTrainer", (Structured, GRPOTrainer), {}), args, own)


def strided(job: Job) -> Any:
    """The trainer of ours on texts in tokens."""
    from transformers import TrainingArguments

    require_pieces(job)
    words = words_of(job.model, job.tokenizer)
    found, dropped = prompt_rows.documents(job.data.train, words, job.knobs.turns, settings(job).plan)
    keep(job, [one.raw for one in found], dropped)
    args = job.arguments(TrainingArguments, remove_unused_columns=False, gradient_checkpointing=crowded(job))
    return trainer(job, type("StridedTrainer", (Strided, base.base()), {}), args, {"train_dataset": prompt_rows.prepared(found)})  # fmt: skip


def trainer(job: Job, shape: type, args: Any, own: dict[str, Any]) -> Any:
    add_stops(job.model, job.tokenizer, job.knobs.stop)
    network = Network(job.knobs.layers, job.knobs.pooling, frozen_copy(job))
    words = words_of(job.model, job.tokenizer)
    return job.trainer(telling(shape, job), args, settings=settings(job), network=network, words=words, **own)


def keep(job: Job, found: list[Any], dropped: dict[str, int]) -> None:
    """The job's rows are those that are trained, one for each answer; what is left out is counted and told."""
    if not found:
        reasons = ", ".join(f"{count} × {reason}" for reason, count in dropped.items())
        raise Problem(f"No usable rows: all were left out ({reasons}).", advice="Check the examples, or shorten context and pieces.",
                      reason="no_rows")  # fmt: skip
    job.data.train = table(found)
    job.data.dropped.update(dropped)
    for reason, count in dropped.items():
        job.warn(left_out(count, reason))


def settings(job: Job) -> Settings:
    knobs = job.knobs
    plan = Plan(knobs.stride, knobs.context, knobs.generate, knobs.skip, knobs.context_only, knobs.max_length)
    weights = Weights(knobs.alignment, knobs.diversity, knobs.whitening)
    return Settings(
        plan,
        weights,
        knobs.attempts,
        knobs.temperature,
        knobs.top_p,
        knobs.top_k,
        knobs.min_p,
        knobs.estimator,
        knobs.rl_weight,
        knobs.ce_weight,
    )


def crowded(job: Job) -> bool:
    """Does memory need parts to be computed twice? All attempts at a batch of examples are held at once."""
    choice = job.knobs.checkpointing
    held = job.knobs.attempts * activation_bytes(job)
    return choice == "on" or (choice == "auto" and held > ROOMY * job.device.free_bytes())


def require_pieces(job: Job) -> None:
    """Can short pieces be tried in this model, as asked? They need layers that see whatever a mask lets them see. Raises Problem."""
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
    kinds = {*(getattr(config, "layer_types", None) or ["full_attention"])}
    if kinds != {"full_attention"}:
        raise Problem(
            "Short pieces can be tried only in models whose layers all see the whole text, and some layers of this one do not.",
            advice="Bring questions and answers to try whole answers, or choose another model.",
        )
