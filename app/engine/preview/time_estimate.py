"""Time estimate: about how long a run takes here, from a few of its own steps on a model that is thrown away."""

from __future__ import annotations

import copy
import json
import math
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, TypedDict

from app.core.scratch import ScratchFolder
from app.core.workspace import local_workspace
from app.engine.active_run import computing_run
from app.engine.job import Job
from app.engine.libraries import remove_overhead
from app.engine.model.device import Device, choose_device
from app.engine.preview.measured_steps import StepTimes, count_step_tokens, step_timer, time_evaluation
from app.engine.trainers.training_args import SMALL_MODEL_PARAMETERS
from app.planning.duration import EVALUATIONS_AROUND
from app.setup import models
from app.setup.knob import settings_without_effect

if TYPE_CHECKING:
    from app.engine.preview.preview_job import Stamps
    from app.setup.step_memory import RowLengths

_MEASURED_STEPS = 3  # of which the first warms up
MAX_ROUND_STEPS = 8  # steps of a rollout round that are measured: beyond, generation weighs little in an average step
_MAX_MEASURED_STEP_FLOPS = 1.5e11  # of one measured step; a larger batch is measured in part
_MAX_SMALLEST_STEP_FLOPS = 3e11  # beyond, not even the smallest step is tried: all other previews wait for it
_PROMPT_TOKENS = 64  # of a prompt, roughly
EVAL_BATCH_ROWS = 32  # held-out rows answered at once, as in app/engine/generation/generate.py
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
class MeasuredTimes:
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
    if getattr(workload.job.knobs, "torch_compile", False):
        return _unknown_time(
            "Compiling takes longer than the steps that would be tried; the time left shows once it runs."
        )
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
    in_evaluations = evaluation_seconds(times, workload)
    return {
        "seconds": round(times.step * workload.steps + in_evaluations, 1),
        "evaluation_seconds": round(in_evaluations, 1),
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


def evaluation_seconds(times: MeasuredTimes, workload: Workload) -> float:
    """All evaluations during the run: the loss, completions of evaluated rows, and of the setup's own prompts."""
    job, knobs = workload.job, workload.job.knobs
    evaluations, evaluated_sets = knobs.evaluations + EVALUATIONS_AROUND, job.data.evaluated_sets.values()
    first_length = getattr(knobs, "max_completion_length", knobs.eval_length)
    later_length = first_length
    if workload.completion_tokens:  # a trained model stops where its examples do
        later_length = min(first_length, workload.completion_tokens + 1)
    generated_tokens = first_length + (evaluations - 1) * later_length
    answered = [min(len(rows), knobs.eval_answers) if job.spec.rewards else 0 for rows in evaluated_sets]
    batches = sum(math.ceil(count / EVAL_BATCH_ROWS) for count in answered) + bool(job.spec.prompts)
    loss_seconds = evaluations * times.eval_row * job.data.num_loss_rows
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
def _measure_times(ignored: _IgnoredByCache, _cache_key: str, _stamps: Stamps) -> MeasuredTimes:
    if run := computing_run():
        name = run.spec.title or run.id
        raise _MachineBusy(f"The run “{name}” is using this machine, so the time cannot be tried out now.")
    with ScratchFolder(local_workspace()) as folder:
        job = _trial_job(ignored.workload, ignored.parameters, folder)
        times = StepTimes()
        job.callbacks.append(step_timer(times))
        trainer = job.method.build(job)
        remove_overhead(trainer)
        count_step_tokens(trainer, times)
        trainer.train()
        return MeasuredTimes(times.average(ignored.workload.step_tokens), *time_evaluation(job, trainer))


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
        "warmup_steps": 0,
    }
    job = Job(workload.job.spec.model_copy(update={"knobs": trial_knobs}), folder, Device("cpu"))
    job.data = copy.copy(workload.job.data)
    job.data.holdout, job.data.eval_sets = job.data.deciding_rows[:EVAL_BATCH_ROWS], {}
    if not job.streaming:
        stride = max(1, len(job.data.train) // (steps * rows_per_step))
        job.data.train = job.data.train.select(range(0, len(job.data.train), stride))
    return job


def steps_per_round(job: Job) -> int:
    """Steps for which completions are generated at once, where a method says so: an average step is one of a complete
    round."""
    return min(MAX_ROUND_STEPS, job.method.steps_per_round(job.knobs)) if job.method.steps_per_round else 1
