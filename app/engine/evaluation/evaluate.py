"""Measure: how good the model is on rows it never learned from: its loss, its method's own measure, and what its answers earn.

A method says of itself what its trainer's own test is worth: HELD_OUT = {the trainer's name: ours}; and where a number of
its own tells more, `measure(job, trainer) -> {name: value}`, higher is better, between 0 and 1 where it can be.
"""

from __future__ import annotations

from typing import Any

from app.data.row_types import as_messages
from app.data.rows import Row
from app.engine.generation.generate import answer, scores
from app.engine.job import Job
from app.engine.trainers.group_rl.rollout_logging import told

Shown = list[dict[str, Any]]


def measure(job: Job, trainer: Any, rows: list[Row]) -> tuple[dict[str, float | None], Shown]:
    """({name: value}, some of what it said): the loss and the method's measure on the job's held-out rows, the rewards on `rows`."""
    found = own(job, trainer) | losses(job, trainer)
    if not job.writes:
        return found, showing(job, trainer)
    if not (job.spec.rewards and rows):
        return found, []
    ask = getattr(trainer, "answer_with_tools", None)  # where the model learns to use some
    means, shown = scores(job.spec, trainer.model, job.tokenizer, rows, longest(job), job.processor, ask, job.warn)
    return means | found, shown


def says(job: Job, trainer: Any, prompts: list[Any]) -> list[str]:
    """What the model answers to prompts, with its tools where it learns to use some."""
    if hasattr(trainer, "answer_with_tools"):
        asked = [{"prompt": as_messages(prompt, "user")} for prompt in prompts]
        return [told(one) for one in trainer.answer_with_tools(asked)]
    return answer(trainer.model, job.tokenizer, prompts, longest(job), chat=job.speaks)


def losses(job: Job, trainer: Any) -> dict[str, float | None]:
    """Methods whose loss means the same on other rows gave their trainer a held-out table."""
    if trainer.eval_dataset is None:
        return {}
    told = trainer.evaluate()
    names = {**getattr(job.method, "HELD_OUT", {}), "eval_loss": "loss"}
    return {ours: told[theirs] for theirs, ours in names.items() if theirs in told}


def own(job: Job, trainer: Any) -> dict[str, float | None]:
    if not (job.data.holdout and hasattr(job.method, "measure")):
        return {}
    return job.method.measure(job, trainer)


def showing(job: Job, trainer: Any) -> Shown:
    """Of a model that scores: some held-out answers with the scores it gives them."""
    return job.method.samples(job, trainer) if job.data.holdout and hasattr(job.method, "samples") else []


def longest(job: Job) -> int:
    """Tokens of an answer in a test."""
    return getattr(job.knobs, "max_completion_length", job.knobs.eval_length)
