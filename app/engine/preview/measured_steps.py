"""Measured steps: how long the steps of a real trainer take, over how many tokens, and what its evaluations cost."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from app.engine.job import Job
from app.engine.tokens.tokenized_examples import count_positions

if TYPE_CHECKING:
    from torch import Tensor
    from transformers import PreTrainedModel, TrainerCallback, TrainerControl, TrainerState, TrainingArguments

    from app.engine.contracts import Trainer

TIMED_TOKENS = 8  # generated to measure the speed of generation


@dataclass
class StepTimes:
    """Seconds, tokens and loss of each step; the loss of the trainer's log."""

    seconds: list[float] = field(default_factory=list)
    tokens: list[int] = field(default_factory=list)
    losses: list[float] = field(default_factory=list)
    started_at: float = 0.0  # of the present step, in time.monotonic()

    def average(self, step_tokens: float | None) -> float:
        """Seconds of an average step without the first, which warms up: by its tokens where these are known."""
        seconds, tokens = sum(self.seconds[1:]), sum(self.tokens[1:])
        return seconds / tokens * step_tokens if step_tokens and tokens else seconds / len(self.seconds[1:])


def step_timer(times: StepTimes, on_step: Callable[[int], None] = lambda step: None) -> TrainerCallback:
    """A callback that writes the times. on_step: called with the number of each finished step."""
    from transformers import TrainerCallback

    class StepTimer(TrainerCallback):
        def on_step_begin(
            self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
        ) -> None:
            times.started_at = time.monotonic()
            times.tokens.append(0)

        def on_step_end(
            self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
        ) -> None:
            times.seconds.append(time.monotonic() - times.started_at)
            on_step(len(times.seconds))

        def on_log(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
            if "loss" in (logs := kwargs.get("logs") or {}):
                times.losses.append(float(logs["loss"]))

    return StepTimer()


def count_step_tokens(trainer: Trainer, times: StepTimes) -> None:
    """Makes the trainer count its positions into the times."""
    original_step = trainer.training_step

    def training_step(model: PreTrainedModel, inputs: dict[str, Tensor], *args: Tensor | int | None) -> Tensor:
        times.tokens[-1] += count_positions(inputs)
        return original_step(model, inputs, *args)

    trainer.training_step = training_step


def time_evaluation(job: Job, trainer: Trainer) -> tuple[float, float]:
    """(seconds of the loss of one held-out row, seconds of one more token for rows answered together)."""
    from app.data.rows import prompt_and_answer
    from app.engine.contracts import SamplingSettings
    from app.engine.generation.generate import generate_completions, preserve_rng_eval
    from app.engine.generation.transformers_generator import TransformersGenerator

    rows = job.data.holdout
    prompts = [pair[0] for row in rows if (pair := prompt_and_answer(row))] or [*job.spec.prompts]
    with preserve_rng_eval(trainer.model):
        started_at = time.monotonic()
        if trainer.eval_dataset is not None:
            trainer.evaluate()
        evaluated_at = time.monotonic()
        if prompts and job.is_generative:
            generator = TransformersGenerator(trainer.model, job.tokenizer)
            sampling = SamplingSettings(max_new_tokens=TIMED_TOKENS)
            generate_completions(generator, prompts, sampling, chat=job.prompts_are_chat)
        generated_at = time.monotonic()
    return (evaluated_at - started_at) / max(1, len(rows)), (generated_at - evaluated_at) / TIMED_TOKENS
