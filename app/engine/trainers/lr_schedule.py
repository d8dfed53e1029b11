"""Schedule of the learning rate: arguments that depend on the number of steps, and the rate of a run that is extended."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from app.engine.trainers.mixin_bases import TrainerBase
from app.engine.trainers.training_args import TrainingKnobs

if TYPE_CHECKING:
    from torch.optim import Optimizer
    from torch.optim.lr_scheduler import LRScheduler


class StepScheduleMixin(TrainerBase):
    """Gives schedules their arguments that depend on the number of steps, which is not known before training."""

    knobs: TrainingKnobs

    def create_scheduler(self, num_training_steps: int, optimizer: Optimizer | None = None) -> LRScheduler:
        self.args.lr_scheduler_kwargs = lr_scheduler_kwargs(self.knobs, num_training_steps)
        return super().create_scheduler(num_training_steps, optimizer)


def set_scheduled_rate(scheduler: LRScheduler) -> None:
    """Sets the learning rate of the next step to that of the schedule, after its state was read from a checkpoint.

    Resumed with more steps, transformers lays the schedule out over the new length, but the next step still has the rate
    that the optimizer was saved with: that of the old schedule, which is 0 at the end of most.
    """
    scheduler.last_epoch -= 1
    scheduler.step()


def lr_scheduler_kwargs(knobs: TrainingKnobs, steps: int) -> dict[str, float]:
    """`lr_scheduler_kwargs` of a run of that many steps, without the warm-up."""
    if knobs.schedule == "cosine_with_floor":
        return {"min_lr_rate": knobs.floor}
    if knobs.schedule == "stable_then_decay":
        warmup_steps = math.ceil(steps * knobs.warmup)  # rounded as in transformers
        return {
            "num_decay_steps": min(max(1, round(steps * knobs.decay)), steps - warmup_steps),
            "min_lr_ratio": knobs.floor,
        }
    if knobs.schedule == "polynomial":
        return {"power": 2.0, "lr_end": 0.0}
    if knobs.schedule == "inverse_sqrt":
        return {
            "timescale": math.ceil(steps * (knobs.warmup or 0.1))
        }  # steps after the warm-up until it has fallen to 1/√2
    return {}
