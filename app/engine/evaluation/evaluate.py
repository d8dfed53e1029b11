"""Held-out evaluation during a run: the loss, the method's own metrics, and the rewards of generated completions.

A method may add metrics with its `measure`; higher is better, and values lie between 0 and 1 where possible.
"""

from __future__ import annotations

from typing import Any

from app.data.row_types import as_messages
from app.data.rows import Row
from app.engine.generation.generate import generate_and_score, generate_completions
from app.engine.job import Job
from app.engine.trainers.group_rl.rollout_logging import completion_text

_Samples = list[dict[str, Any]]


def evaluate(job: Job, trainer: Any, rows: list[Row]) -> tuple[dict[str, float | None], _Samples]:
    """({metric: value}, samples): loss and the method's metrics on the job's held-out rows, mean rewards on `rows`."""
    metrics = method_metrics(job, trainer) | held_out_losses(job, trainer)
    if not job.is_generative:
        return metrics, _scored_samples(job, trainer)
    if not (job.spec.rewards and rows):
        return metrics, []
    generate_with_tools = getattr(trainer, "answer_with_tools", None)  # of methods with tools
    mean_rewards, samples = generate_and_score(
        job.spec,
        trainer.model,
        job.tokenizer,
        rows,
        eval_completion_length(job),
        job.processor,
        generate_with_tools,
        job.warn,
    )
    return mean_rewards | metrics, samples


def generate_samples(job: Job, trainer: Any, prompts: list[Any]) -> list[str]:
    """Completions of the prompts as text, generated with tools where the method has them."""
    if hasattr(trainer, "answer_with_tools"):
        prompt_rows = [{"prompt": as_messages(prompt, "user")} for prompt in prompts]
        return [completion_text(completion) for completion in trainer.answer_with_tools(prompt_rows)]
    return generate_completions(
        trainer.model, job.tokenizer, prompts, eval_completion_length(job), chat=job.prompts_are_chat
    )


def held_out_losses(job: Job, trainer: Any) -> dict[str, float | None]:
    """The trainer's own evaluation metrics; {} for methods without a comparable loss, which have no eval_dataset."""
    if trainer.eval_dataset is None:
        return {}
    trainer_metrics = trainer.evaluate()
    return {"loss": trainer_metrics["eval_loss"]} if "eval_loss" in trainer_metrics else {}


def method_metrics(job: Job, trainer: Any) -> dict[str, float | None]:
    """The metrics of the method's own `measure`; {} where it has none, or without held-out rows."""
    if not (job.data.holdout and job.method.measure):
        return {}
    return job.method.measure(job, trainer)


def _scored_samples(job: Job, trainer: Any) -> _Samples:
    """Samples of a reward model: some held-out answers with the scores it gives them."""
    return job.method.samples(job, trainer) if job.data.holdout and job.method.samples else []


def eval_completion_length(job: Job) -> int:
    """Most tokens of a completion in an evaluation."""
    return getattr(job.knobs, "max_completion_length", job.knobs.eval_length)
