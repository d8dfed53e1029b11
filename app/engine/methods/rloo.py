"""The model tries several answers to each prompt, and compares what each earned with the mean of the others."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import model_validator

from app.engine.contracts import Method, Trainer
from app.engine.generation.sampling import sampling_arguments
from app.engine.trainers.group_rl import settings, trainer
from app.setup.knob import knob
from app.setup.step_memory import RowLengths, StepMemory

if TYPE_CHECKING:
    from app.engine.job import Job


class Knobs(settings.GroupKnobs):
    attempts: int = knob(
        4,
        "How many answers are tried for each prompt. Each is compared with the mean of the others.",
        low=2,
        high=256,
        safe=(2, 16),
        unit="answers",
        everyday=True,
    )
    kl: float = knob(
        0.05,
        "How strongly the model is held near its start (beta): moving away costs reward. At 0 nothing holds it.",
        low=0.0,
        high=10.0,
        safe=(0.01, 0.2),
        everyday=True,
        library_name="beta",
        affects="timing",
    )
    clip: float = knob(
        0.2,
        "How far one correction may go from the model that wrote the answers.",
        low=1e-5,
        high=100.0,
        library_name="epsilon",
    )
    normalize: bool = knob(
        False, "Makes the step alike whether rewards differ by much or little.", library_name="normalize_advantages"
    )
    least_reward: float | None = knob(
        None, "An answer earns no less than this, whatever its rewards add up to.", low=-1e6, high=1e6, empty="no limit"
    )
    most_reward: float | None = knob(
        None, "An answer earns no more than this, whatever its rewards add up to.", low=-1e6, high=1e6, empty="no limit"
    )
    leave_out_cut_off: bool = knob(
        False,
        "Answers that reached the longest length teach nothing, good or bad.",
        library_name="mask_truncated_completions",
    )
    written_ahead: int = knob(
        1,
        "For how many corrections answers are written at once. More is quicker, and the later ones come from an older model.",
        low=1,
        high=256,
        unit="corrections",
        affects="order",
    )

    @model_validator(mode="after")
    def check_reward_limits(self) -> Knobs:
        lowest, highest = _reward_limits(self)
        if lowest >= highest:
            raise ValueError(f"least_reward ({lowest:g}) should be below most_reward ({highest:g})")
        return self


def _reward_limits(knobs: Knobs) -> tuple[float, float]:
    """(lowest, highest) total reward of a completion; infinite where there is no limit."""
    lowest, highest = knobs.least_reward, knobs.most_reward
    return -float("inf") if lowest is None else lowest, float("inf") if highest is None else highest


def steps_per_round(knobs: Knobs) -> int:
    """The number of optimizer steps that one round of completions serves."""
    return knobs.written_ahead * knobs.times_used


def step_memory(knobs: Knobs, lengths: RowLengths) -> StepMemory:
    """A batch of completions; those of a whole round are written at once."""
    return settings.group_memory(knobs, lengths, knobs.written_ahead, keeps_start=knobs.kl > 0)


def build(job: Job) -> Trainer:
    """TRL's RLOOTrainer with the spec's rewards and rollout logging."""
    from trl import RLOOConfig, RLOOTrainer

    knobs: Knobs = job.knobs
    limited = (knobs.least_reward, knobs.most_reward) != (None, None)
    args = job.arguments(
        RLOOConfig,
        num_generations=knobs.attempts,
        max_completion_length=knobs.max_completion_length,
        num_iterations=knobs.times_used,
        steps_per_generation=knobs.accumulation * knobs.written_ahead,
        chat_template_kwargs=job.template_arguments,
        reward_weights=[reward.weight for reward in job.spec.rewards],
        beta=0.0 if job.preview else knobs.kl,  # a preview of the prompts loads no reference model
        epsilon=knobs.clip,
        normalize_advantages=knobs.normalize,
        reward_clip_range=_reward_limits(knobs) if limited else None,
        mask_truncated_completions=knobs.leave_out_cut_off,
        **sampling_arguments(knobs),
    )
    return trainer.build_group_trainer(job, RLOOTrainer, args)


METHOD = Method(
    title="Earn rewards, held near the start",
    term="RLOO",
    sentence=__doc__,
    family="rewards",
    row_types=("prompt",),
    knobs=Knobs,
    build=build,
    step_memory=step_memory,
    defaults=settings.defaults,
    needs_rewards=True,
    curves=settings.CURVES,
    steps_per_round=steps_per_round,
)
