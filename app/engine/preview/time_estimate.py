"""Pace: about how long a run takes here, from a few of its own steps, done for real on a model that is thrown away."""

from __future__ import annotations

import copy
import json
import math
import time
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from app.engine.__main__ import lighten
from app.engine.active_run import computing
from app.engine.job import MOST_HELD_OUT, Job
from app.engine.model.device import Device, choose
from app.engine.tokens.tokenized_examples import positions
from app.engine.trainers.training_args import SMALL
from app.setup import models

STEPS = 3  # measured, of which the first warms up
LONG = 8  # steps of a round of answers, beyond which writing them weighs little in an average step
EFFORT = 1.5e11  # floating-point operations of one measured step, at most; a larger batch is measured in part
HEAVY = 3e11  # beyond this not even the smallest step is tried: everybody's previews wait for it
TRIED = 8  # tokens written to see how fast that is
ASKED = 64  # tokens of a prompt, roughly
TOGETHER = 32  # rows tested at once, as app/engine/generation/generate.py does
# Settings that change how many steps there are or what they do, not how long one takes.
UNTIMED = ("epochs", "steps", "learning_rate", "schedule", "warmup", "weight_decay", "max_grad_norm", "saves", "save_minutes",
           "evaluations", "eval_answers", "eval_length", "samples_every")  # fmt: skip


@dataclass
class Work:
    """What there is to do. step_tokens: positions of an average step, if known; answer: learned tokens of an average row."""

    job: Job
    steps: int
    step_tokens: float | None
    answer: float | None


@dataclass(frozen=True)
class Pace:
    """Seconds: of an average step, of the loss of one held-out row, of one token for rows answered together."""

    step: float
    row: float
    token: float


def seconds(work: Work, setup: str, stamps: Any) -> tuple[float | None, str]:
    """(about how long training and its tests take, ""), or (None, why nobody knows)."""
    size = models.parameters(work.job.spec.model)
    if choose("local") != "cpu":
        return None, "The time on a graphics card shows once it runs."
    if size is None or size >= SMALL:
        return None, "The model is too big to try a step beforehand; the time left shows once it runs."
    if least(work) * 6 * size > HEAVY:
        return None, "A step is too long to try beforehand; the time left shows once it runs."
    spec = json.loads(setup)
    timed = {key: value for key, value in spec["knobs"].items() if key not in UNTIMED} | {
        "tests": bool(work.job.spec.rewards)
    }
    try:
        found = measured(Hidden(work, size), json.dumps(spec | {"knobs": timed}, sort_keys=True), stamps)
    except Busy as busy:
        return None, str(busy)
    return round(found.step * work.steps + testing(found, work), 1), ""


def least(work: Work) -> float:
    """Tokens of the smallest step that tells: of one row, or of all attempts, which are not measured in part."""
    knobs = work.job.knobs
    if work.step_tokens is None:
        return knobs.batch_size * knobs.accumulation * (knobs.max_completion_length + ASKED)
    return work.step_tokens / (knobs.batch_size * knobs.accumulation)


def testing(found: Pace, work: Work) -> float:
    """All tests on the way: the loss, answers to held-out rows, and the setup's own prompts."""
    job, knobs = work.job, work.job.knobs
    times, held = knobs.evaluations + 2, len(job.data.holdout)
    longest = getattr(knobs, "max_completion_length", knobs.eval_length)
    later = (
        min(longest, work.answer + 1) if work.answer else longest
    )  # a model that has learned stops where its examples do
    written = longest + (times - 1) * later
    answers = min(held, knobs.eval_answers) if job.spec.rewards else 0
    return times * found.row * min(held, MOST_HELD_OUT) + found.token * written * (
        math.ceil(answers / TOGETHER) + bool(job.spec.prompts)
    )


class Busy(Exception):
    """A run computes: a step would take longer than it will, and the run's steps too."""


class Hidden:
    """Equal to any other, so that the cache looks only at the other arguments."""

    def __init__(self, *what: Any):
        self.what = what

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Hidden)

    def __hash__(self) -> int:
        return 0


@lru_cache(maxsize=16)
def measured(hidden: Hidden, _setup: str, _stamps: Any) -> Pace:
    work, size = hidden.what
    if run := computing():
        raise Busy(f"The run “{run.spec.title or run.id}” is using this machine, so the time cannot be tried out now.")
    with TemporaryDirectory() as folder:
        job = trial(work, size, Path(folder))
        clock = clock_class()()
        job.callbacks.append(clock)
        trainer = job.method.build(job)
        lighten(trainer)
        count_tokens(trainer, clock)
        trainer.train()
        return Pace(step_of(clock, work), *tests(job, trainer))


def trial(work: Work, size: int, folder: Path) -> Job:
    """A few steps of the run, with smaller batches where a step would be heavy, on rows from all over the data."""
    knobs, full = work.job.knobs, work.step_tokens
    share = min(1.0, EFFORT / (6 * size * full)) if full else 1.0
    batch = max(1, int(knobs.batch_size * knobs.accumulation * share))
    fewer = {"batch_size": min(batch, knobs.batch_size), "accumulation": max(1, batch // knobs.batch_size)}
    steps = 1 + max(STEPS - 1, round_of(work.job))
    spec = work.job.spec.model_copy(update={"knobs": work.job.spec.knobs | fewer | {"steps": steps, "warmup": 0.0}})
    job = Job(spec, folder, Device("cpu"))
    job.data = copy.copy(work.job.data)
    job.data.holdout = job.data.holdout[:TOGETHER]
    if not job.streaming:
        every = max(1, len(job.data.train) // (steps * batch))
        job.data.train = job.data.train.select(range(0, len(job.data.train), every))
    return job


def round_of(job: Job) -> int:
    """Steps for which answers are written at once, where a method says so: an average step is one of a whole round."""
    return min(LONG, job.method.round_of(job.knobs)) if hasattr(job.method, "round_of") else 1


def clock_class() -> type:
    from transformers import TrainerCallback

    class Clock(TrainerCallback):
        """seconds and tokens of each step."""

        def __init__(self) -> None:
            self.seconds: list[float] = []
            self.tokens: list[int] = []
            self.began = 0.0

        def on_step_begin(self, *_: Any, **__: Any) -> None:
            self.began = time.monotonic()
            self.tokens.append(0)

        def on_step_end(self, *_: Any, **__: Any) -> None:
            self.seconds.append(time.monotonic() - self.began)

    return Clock


def count_tokens(trainer: Any, clock: Any) -> None:
    inner = trainer.training_step

    def step(model: Any, inputs: Any, *rest: Any) -> Any:
        clock.tokens[-1] += positions(inputs)
        return inner(model, inputs, *rest)

    trainer.training_step = step


def step_of(clock: Any, work: Work) -> float:
    """Seconds of an average step: by its tokens where these are known, the first left out."""
    spent, seen = sum(clock.seconds[1:]), sum(clock.tokens[1:])
    return spent / seen * work.step_tokens if work.step_tokens else spent / len(clock.seconds[1:])


def tests(job: Job, trainer: Any) -> tuple[float, float]:
    """(seconds of the loss of one held-out row, seconds of one more token for rows answered together)."""
    from app.data.rows import as_question
    from app.engine.generation.generate import answer, aside

    rows = job.data.holdout
    asked = [question[0] for row in rows if (question := as_question(row))] or job.spec.prompts
    with aside(trainer.model):
        began = time.monotonic()
        if trainer.eval_dataset is not None:
            trainer.evaluate()
        told = time.monotonic()
        if asked and job.writes:
            answer(trainer.model, job.tokenizer, asked, TRIED, chat=job.speaks)
        ended = time.monotonic()
    return (told - began) / max(1, len(rows)), (ended - told) / TRIED
