"""Time estimate: about how long a run takes here, from a few of its own steps on a model that is thrown away."""

from __future__ import annotations

import copy
import json
import math
import time
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypedDict

from app.core.scratch import ScratchFolder
from app.core.workspace import local_workspace
from app.engine.active_run import computing_run
from app.engine.job import MAX_EVAL_ROWS, Job
from app.engine.libraries import remove_overhead
from app.engine.model.device import Device, choose_device
from app.engine.tokens.tokenized_examples import count_positions
from app.engine.trainers.training_args import SMALL_MODEL_PARAMETERS
from app.setup import models
from app.setup.knob import settings_without_effect

if TYPE_CHECKING:
    from torch import Tensor
    from transformers import PreTrainedModel, TrainerCallback, TrainerControl, TrainerState, TrainingArguments

    from app.engine.contracts import Trainer
    from app.engine.preview.preview_job import Stamps
    from app.setup.step_memory import RowLengths

_MEASURED_STEPS = 3  # of which the first warms up
MAX_ROUND_STEPS = 8  # steps of a rollout round that are measured: beyond, generation weighs little in an average step
_MAX_MEASURED_STEP_FLOPS = 1.5e11  # of one measured step; a larger batch is measured in part
_MAX_SMALLEST_STEP_FLOPS = 3e11  # beyond, not even the smallest step is tried: all other previews wait for it
_TIMED_TOKENS = 8  # generated to measure the speed of generation
_PROMPT_TOKENS = 64  # of a prompt, roughly
_EVAL_BATCH_ROWS = 32  # held-out rows answered at once, as in app/engine/generation/generate.py
_FLOPS_PER_PARAMETER = 6  # and token: two for the forward pass, four for the backward pass


@dataclass
class Workload:
    """What there is to do.

    step_tokens: positions of an average step, None if unknown. completion_tokens: trained tokens of an average row,
    None if unknown. row_lengths: of the longest rows."""

    job: Job
    steps: int
    step_tokens: float | None
    completion_tokens: float | None
    row_lengths: RowLengths


@dataclass(frozen=True)
class _MeasuredTimes:
    """In seconds: an average step, the loss of one held-out row, one generated token for rows answered together."""

    step: float
    eval_row: float
    generated_token: float


class TimeEstimate(TypedDict):
    """seconds: about how long the run takes on this machine; None where that is unknown, and seconds_why says why.
    evaluation_seconds: those of them that go into its evaluations."""

    seconds: float | None
    evaluation_seconds: float | None
    seconds_why: str


class _MachineBusy(Exception):
    """A run computes: a step would take longer than it will later, and would slow down the run."""


# -- estimate -----------------------------------------------------------------------------------------------------


def estimate_time(workload: Workload, spec_json: str, stamps: Stamps) -> TimeEstimate:
    """About how long training and its evaluations take. stamps: of the data files, for the cache."""
    parameters = models.count_parameters(workload.job.spec.model)
    if choose_device("local") != "cpu":
        return _unknown_time("The time on a graphics card shows once it runs.")
    if parameters is None or parameters >= SMALL_MODEL_PARAMETERS:
        return _unknown_time("The model is too big to try a step beforehand; the time left shows once it runs.")
    if _smallest_step_tokens(workload) * _FLOPS_PER_PARAMETER * parameters > _MAX_SMALLEST_STEP_FLOPS:
        return _unknown_time("A step is too long to try beforehand; the time left shows once it runs.")
    spec = json.loads(spec_json)
    ignored = settings_without_effect(workload.job.method.knobs, {"rows", "order", "timing"})
    settings = {key: setting for key, setting in spec["knobs"].items() if key not in ignored}
    settings["tests"] = bool(workload.job.spec.rewards)
    cache_key = json.dumps(spec | {"knobs": settings}, sort_keys=True)
    try:
        times = _measure_times(_IgnoredByCache(workload, parameters), cache_key, stamps)
    except _MachineBusy as busy:
        return _unknown_time(str(busy))
    evaluation_seconds = _evaluation_seconds(times, workload)
    return {
        "seconds": round(times.step * workload.steps + evaluation_seconds, 1),
        "evaluation_seconds": round(evaluation_seconds, 1),
        "seconds_why": "",
    }


def _unknown_time(why: str) -> TimeEstimate:
    return {"seconds": None, "evaluation_seconds": None, "seconds_why": why}


def _smallest_step_tokens(workload: Workload) -> float:
    """Tokens of the smallest step that can be measured: of one row, or of all completions, which are not measured in
    part."""
    knobs = workload.job.knobs
    if workload.step_tokens is None:
        return knobs.batch_size * knobs.accumulation * (knobs.max_completion_length + _PROMPT_TOKENS)
    return workload.step_tokens / (knobs.batch_size * knobs.accumulation)


def _evaluation_seconds(times: _MeasuredTimes, workload: Workload) -> float:
    """All evaluations during the run: the loss, completions of held-out rows, and of the setup's own prompts."""
    job, knobs = workload.job, workload.job.knobs
    evaluations, held_out_rows = knobs.evaluations + 2, len(job.data.holdout)
    first_length = getattr(knobs, "max_completion_length", knobs.eval_length)
    later_length = first_length
    if workload.completion_tokens:  # a trained model stops where its examples do
        later_length = min(first_length, workload.completion_tokens + 1)
    generated_tokens = first_length + (evaluations - 1) * later_length
    answered_rows = min(held_out_rows, knobs.eval_answers) if job.spec.rewards else 0
    batches = math.ceil(answered_rows / _EVAL_BATCH_ROWS) + bool(job.spec.prompts)
    loss_seconds = evaluations * times.eval_row * min(held_out_rows, MAX_EVAL_ROWS)
    return loss_seconds + times.generated_token * generated_tokens * batches


# -- measurement --------------------------------------------------------------------------------------------------


class _IgnoredByCache:
    """Arguments that compare equal to any others, so that `lru_cache` looks only at the other arguments."""

    def __init__(self, workload: Workload, parameters: int):
        self.workload, self.parameters = workload, parameters

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _IgnoredByCache)

    def __hash__(self) -> int:
        return 0


@lru_cache(maxsize=16)
def _measure_times(ignored: _IgnoredByCache, _cache_key: str, _stamps: Stamps) -> _MeasuredTimes:
    if run := computing_run():
        name = run.spec.title or run.id
        raise _MachineBusy(f"The run “{name}” is using this machine, so the time cannot be tried out now.")
    with ScratchFolder(local_workspace()) as folder:
        job = _trial_job(ignored.workload, ignored.parameters, folder)
        times = _StepTimes()
        job.callbacks.append(_step_timer(times))
        trainer = job.method.build(job)
        remove_overhead(trainer)
        _count_step_tokens(trainer, times)
        trainer.train()
        return _MeasuredTimes(_average_step_seconds(times, ignored.workload), *_time_evaluation(job, trainer))


def _trial_job(workload: Workload, parameters: int, folder: Path) -> Job:
    """A few steps of the run, with smaller batches where a step would be heavy, on rows from all over the data."""
    knobs, step_tokens = workload.job.knobs, workload.step_tokens
    share = 1.0
    if step_tokens:
        share = min(1.0, _MAX_MEASURED_STEP_FLOPS / (_FLOPS_PER_PARAMETER * parameters * step_tokens))
    rows_per_step = max(1, int(knobs.batch_size * knobs.accumulation * share))
    steps = 1 + max(_MEASURED_STEPS - 1, steps_per_round(workload.job))
    trial_knobs = workload.job.spec.knobs | {
        "batch_size": min(rows_per_step, knobs.batch_size),
        "accumulation": max(1, rows_per_step // knobs.batch_size),
        "steps": steps,
        "warmup": 0.0,
    }
    job = Job(workload.job.spec.model_copy(update={"knobs": trial_knobs}), folder, Device("cpu"))
    job.data = copy.copy(workload.job.data)
    job.data.holdout = job.data.holdout[:_EVAL_BATCH_ROWS]
    if not job.streaming:
        stride = max(1, len(job.data.train) // (steps * rows_per_step))
        job.data.train = job.data.train.select(range(0, len(job.data.train), stride))
    return job


def steps_per_round(job: Job) -> int:
    """Steps for which completions are generated at once, where a method says so: an average step is one of a complete
    round."""
    return min(MAX_ROUND_STEPS, job.method.steps_per_round(job.knobs)) if job.method.steps_per_round else 1


@dataclass
class _StepTimes:
    """Seconds and tokens of each step."""

    seconds: list[float] = field(default_factory=list)
    tokens: list[int] = field(default_factory=list)
    started_at: float = 0.0  # of the present step, in time.monotonic()


def _step_timer(times: _StepTimes) -> TrainerCallback:
    """A callback that writes the times."""
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

    return StepTimer()


def _count_step_tokens(trainer: Trainer, times: _StepTimes) -> None:
    """Makes the trainer count its positions into the times."""
    original_step = trainer.training_step

    def training_step(model: PreTrainedModel, inputs: dict[str, Tensor], *args: Tensor | int | None) -> Tensor:
        times.tokens[-1] += count_positions(inputs)
        return original_step(model, inputs, *args)

    trainer.training_step = training_step


def _average_step_seconds(times: _StepTimes, workload: Workload) -> float:
    """Seconds of an average step without the first: by its tokens where these are known."""
    seconds, tokens = sum(times.seconds[1:]), sum(times.tokens[1:])
    return seconds / tokens * workload.step_tokens if workload.step_tokens else seconds / len(times.seconds[1:])


def _time_evaluation(job: Job, trainer: Trainer) -> tuple[float, float]:
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
            sampling = SamplingSettings(max_new_tokens=_TIMED_TOKENS)
            generate_completions(generator, prompts, sampling, chat=job.prompts_are_chat)
        generated_at = time.monotonic()
    return (evaluated_at - started_at) / max(1, len(rows)), (generated_at - evaluated_at) / _TIMED_TOKENS
