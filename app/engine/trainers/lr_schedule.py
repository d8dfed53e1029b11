"""Schedule of the learning rate: arguments that depend on the number of steps, and the rate of a run that is extended."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Literal

from pydantic import model_validator

from app.core.json_types import JsonObject
from app.core.problems import Problem
from app.engine.trainers.mixin_bases import TrainerBase
from app.setup.knob import Knobs, knob
from app.setup.spec import MAX_STEPS

if TYPE_CHECKING:
    from torch.optim import Optimizer
    from torch.optim.lr_scheduler import LRScheduler

_LR_SCHEDULER_TYPES = {
    "cosine_with_floor": "cosine_with_min_lr",
    "stable_then_decay": "warmup_stable_decay",
}  # as the loop calls them
_SCHEDULES_WITHOUT_FLOOR = ["linear", "cosine", "constant", "constant_with_warmup", "polynomial", "inverse_sqrt"]


class ScheduleKnobs(Knobs):
    """How the learning rate changes over the run."""

    schedule: Literal[
        "linear",
        "cosine",
        "cosine_with_floor",
        "constant",
        "constant_with_warmup",
        "polynomial",
        "inverse_sqrt",
        "stable_then_decay",
    ] = knob(
        "linear",
        "How the size of corrections changes over the run.",
        choices={
            "linear": "Falls steadily to zero.",
            "cosine": "Falls slowly, then fast, then slowly.",
            "cosine_with_floor": "The same, but only down to the floor set below.",
            "constant": "Stays the same.",
            "constant_with_warmup": "Rises at first, then stays.",
            "polynomial": "Falls fast at first and ever slower, to zero.",
            "inverse_sqrt": "Falls ever slower and never ends: for a run whose length is not decided yet.",
            "stable_then_decay": "Stays, then falls to the floor in the last part (WSD): both lengths are set below.",
        },
        library_name="lr_scheduler_type",
    )
    warmup: float = knob(
        0.0,
        "Share of the run in which corrections grow from zero, which protects the start.",
        low=0.0,
        high=0.9,
        unit="of the run",
        library_name="warmup_ratio",
        unused_with={"knobs.warmup_steps": [], "knobs.schedule": ["constant"]},
    )
    warmup_steps: int | None = knob(
        None,
        "The same as a number of steps, which stays when the run gets longer or shorter.",
        low=0,
        high=MAX_STEPS,
        safe=(0, 1000),
        unit="steps",
        empty="the share above counts",
        unused_with={"knobs.schedule": ["constant"]},
    )
    floor: float = knob(
        0.1,
        "What share of the full size corrections keep at the end. Used by cosine_with_floor and stable_then_decay.",
        low=0.0,
        high=0.99,
        safe=(0.0, 0.3),
        unit="of the full size",
        library_name="min_lr_rate",
        unused_with={"knobs.schedule": [*_SCHEDULES_WITHOUT_FLOOR]},
    )
    decay: float = knob(
        0.2,
        "Share of the run in which corrections fall at the end. Used by stable_then_decay.",
        low=0.01,
        high=1.0,
        safe=(0.1, 0.5),
        unit="of the run",
        unused_with={"knobs.schedule": [*_SCHEDULES_WITHOUT_FLOOR, "cosine_with_floor"]},
    )

    @model_validator(mode="before")
    @classmethod
    def _read_share_of_transformers(cls, settings: JsonObject) -> JsonObject:
        """`warmup_steps` below 1 is a share of the run in transformers, and is read as one."""
        share = settings.get("warmup_steps")
        if isinstance(share, float) and 0 < share < 1:
            return settings | {"warmup_steps": None, "warmup": share}
        return settings


class StepScheduleMixin(TrainerBase):
    """Gives schedules their arguments that depend on the number of steps, which is not known before training."""

    knobs: ScheduleKnobs

    def create_scheduler(self, num_training_steps: int, optimizer: Optimizer | None = None) -> LRScheduler:
        require_time_after_warmup(self.knobs, num_training_steps)
        self.args.lr_scheduler_kwargs = lr_scheduler_kwargs(self.knobs, num_training_steps)
        return super().create_scheduler(num_training_steps, optimizer)


def set_scheduled_rate(scheduler: LRScheduler) -> None:
    """Sets the learning rate of the next step to that of the schedule, after its state was read from a checkpoint.

    Resumed with more steps, transformers lays the schedule out over the new length, but the next step still has the rate
    that the optimizer was saved with: that of the old schedule, which is 0 at the end of most.
    """
    scheduler.last_epoch -= 1
    scheduler.step()


def count_warmup_steps(knobs: ScheduleKnobs, steps: int) -> int:
    """How many of that many steps the learning rate rises in."""
    if knobs.warmup_steps is not None:
        return knobs.warmup_steps
    return math.ceil(steps * knobs.warmup)  # rounded as in transformers


def require_time_after_warmup(knobs: ScheduleKnobs, steps: int) -> None:
    """Raises Problem where a run would end before its warm-up does, and so never learn at the rate that is set."""
    if knobs.warmup_steps and knobs.warmup_steps >= steps:
        raise Problem(
            f"The warm-up of {knobs.warmup_steps:,} steps is as long as the whole run, which has {steps:,}.",
            advice=f"Choose at most {steps // 2:,} warm-up steps, or train longer.",
        )


def lr_scheduler_type(knobs: ScheduleKnobs) -> str:
    """`lr_scheduler_type` of TrainingArguments."""
    return _LR_SCHEDULER_TYPES.get(knobs.schedule, knobs.schedule)


def lr_scheduler_kwargs(knobs: ScheduleKnobs, steps: int) -> dict[str, float]:
    """`lr_scheduler_kwargs` of a run of that many steps, without the warm-up."""
    if knobs.schedule == "cosine_with_floor":
        return {"min_lr_rate": knobs.floor}
    if knobs.schedule == "stable_then_decay":
        warmup_steps = count_warmup_steps(knobs, steps)
        return {
            "num_decay_steps": min(max(1, round(steps * knobs.decay)), steps - warmup_steps),
            "min_lr_ratio": knobs.floor,
        }
    if knobs.schedule == "polynomial":
        return {"power": 2.0, "lr_end": 0.0}
    if knobs.schedule == "inverse_sqrt":
        # steps after the warm-up until it has fallen to 1/√2
        return {"timescale": count_warmup_steps(knobs, steps) or math.ceil(steps * 0.1)}
    return {}
