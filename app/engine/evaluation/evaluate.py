"""Held-out evaluation during a run: the loss, the method's own metrics, and the rewards of generated completions.

A method may add metrics with its `measure`; higher is better, and values lie between 0 and 1 where possible.
"""

from __future__ import annotations

from collections.abc import Sequence

from app.data.conversations.messages import Messages
from app.data.row_types import as_messages
from app.data.rows import Row
from app.engine.contracts import ImagePrompt, Metrics, SamplingSettings, Trainer
from app.engine.evaluation.completion_rewards import CompletionScorer, PromptRow, prompts_of_rows
from app.engine.generation.generate import generate_completions
from app.engine.generation.transformers_generator import TransformersGenerator
from app.engine.job import Job
from app.engine.trainers.group_rl.rollout_logging import completion_text


def evaluate(job: Job, trainer: Trainer, rows: list[Row]) -> tuple[Metrics, list[Row]]:
    """({metric: value}, samples): loss and the method's metrics on the job's held-out rows, mean rewards on `rows`."""
    metrics = method_metrics(job, trainer) | held_out_losses(job, trainer)
    if not job.is_generative:
        return metrics, _scored_samples(job, trainer)
    if not (job.spec.rewards and rows):
        return metrics, []
    prompts = prompts_of_rows(rows)
    scorer = CompletionScorer(job.spec.rewards, job.tokenizer, str(trainer.model.device), job.warn)
    mean_rewards, samples = scorer.evaluate(prompts, _complete_prompts(job, trainer, prompts))
    return mean_rewards | metrics, [dict(sample) for sample in samples]


def _complete_prompts(job: Job, trainer: Trainer, prompts: list[PromptRow]) -> Sequence[str | Messages]:
    """One greedy completion for each prompt: with tools where the method has them, with images where the rows have them."""
    if hasattr(trainer, "answer_with_tools"):
        rows = [prompt.row | {"prompt": as_messages(prompt.prompt, "user")} for prompt in prompts]
        return trainer.answer_with_tools(rows)
    generator = TransformersGenerator(trainer.model, job.tokenizer, job.processor)
    sampling = SamplingSettings(max_new_tokens=eval_completion_length(job))
    if job.processor is None:
        return generate_completions(generator, [prompt.prompt for prompt in prompts], sampling)
    image_prompts = [ImagePrompt(prompt.prompt, prompt.row.get("images", [])) for prompt in prompts]
    return [completion.text for completion in generator.generate(image_prompts, sampling)]


def generate_samples(job: Job, trainer: Trainer, prompts: Sequence[str | Messages]) -> list[str]:
    """Completions of the prompts as text, generated with tools where the method has them."""
    if hasattr(trainer, "answer_with_tools"):
        prompt_rows = [{"prompt": as_messages(prompt, "user")} for prompt in prompts]
        return [completion_text(completion) for completion in trainer.answer_with_tools(prompt_rows)]
    generator = TransformersGenerator(trainer.model, job.tokenizer)
    sampling = SamplingSettings(max_new_tokens=eval_completion_length(job))
    return generate_completions(generator, prompts, sampling, chat=job.prompts_are_chat)


def held_out_losses(job: Job, trainer: Trainer) -> Metrics:
    """The trainer's own evaluation metrics; {} for methods without a comparable loss, which have no eval_dataset."""
    if trainer.eval_dataset is None:
        return {}
    trainer_metrics = trainer.evaluate()
    return {"loss": trainer_metrics["eval_loss"]} if "eval_loss" in trainer_metrics else {}


def method_metrics(job: Job, trainer: Trainer) -> Metrics:
    """The metrics of the method's own `measure`; {} where it has none, or without held-out rows."""
    if not (job.data.holdout and job.method.measure):
        return {}
    return job.method.measure(job, trainer)


def _scored_samples(job: Job, trainer: Trainer) -> list[Row]:
    """Samples of a reward model: some held-out answers with the scores it gives them."""
    return job.method.samples(job, trainer) if job.data.holdout and job.method.samples else []


def eval_completion_length(job: Job) -> int:
    """Most tokens of a completion in an evaluation."""
    return getattr(job.knobs, "max_completion_length", job.knobs.eval_length)
