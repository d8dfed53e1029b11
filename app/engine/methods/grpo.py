"""The model tries several answers to each prompt, and does more of what earned the higher reward."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

from pydantic import model_validator

from app.engine.attempts import telling
from app.engine.knob import knob
from app.engine.training import SMALL, TrainingKnobs, learning_rate

if TYPE_CHECKING:
    from app.engine.job import Job

TITLE = "Earn rewards"
LAYOUTS = ("prompt",)
NEEDS_REWARDS = True


class Knobs(TrainingKnobs):
    batch_size: int = knob(
        64, "How many answers each correction looks at: prompts times attempts. A multiple of the attempts.",
        low=2, high=65_536, safe=(16, 512), unit="answers", everyday=True)  # fmt: skip
    attempts: int = knob(
        8, "How many answers are tried for each prompt. They are compared with one another.", low=2, high=256,
        safe=(4, 16), unit="answers", everyday=True)  # fmt: skip
    max_completion_length: int = knob(
        256, "Answers are cut off here. Shorter is much quicker.", low=1, high=1_000_000, safe=(4, 1024),
        unit="tokens", everyday=True)  # fmt: skip
    temperature: float = knob(
        1.0, "How adventurous the attempts are. Too low and they are all alike, and nothing can be learned.",
        low=0.05, high=5.0, safe=(0.7, 1.2), everyday=True)  # fmt: skip
    top_p: float = knob(1.0, "Leaves out the least likely words beyond this share of probability.", low=0.01, high=1.0)
    kl: float = knob(
        0.0, "How strongly the model is held near its start (beta). 0 lets it go.", low=0.0, high=10.0)  # fmt: skip
    loss: Literal["dapo", "dr_grpo", "grpo", "bnpo"] = knob(
        "dapo", "How tokens are averaged.",
        choices={"dapo": "Over all tokens of the batch.", "dr_grpo": "Over a fixed length: no favour for long or short.",
                 "grpo": "Over each answer first.", "bnpo": "Over the tokens of this part of the batch."})  # fmt: skip
    scale_rewards: Literal["group", "batch", "none"] = knob(
        "group", "What rewards are divided by.",
        choices={"group": "The spread among a prompt's attempts.", "batch": "The spread in the batch.", "none": "Nothing."})  # fmt: skip
    clip: float = knob(0.2, "How far one correction may go from the model that wrote the answers.", low=0.01, high=1.0)
    samples_every: int = knob(
        10, "Shows some attempts with their rewards every so many steps.", low=1, high=10_000, unit="steps"
    )

    @model_validator(mode="after")
    def batches_hold_whole_groups(self) -> Knobs:
        batch = self.batch_size * self.accumulation
        if batch % self.attempts:
            near = max(1, round(batch / self.attempts)) * self.attempts
            raise ValueError(
                f"a batch of {batch} answers cannot be split into groups of {self.attempts} attempts; try {near}"
            )
        return self


def defaults(adapter: str, parameters: int | None) -> dict[str, Any]:
    """Knobs that depend on what is trained. Rewards are a weaker signal than examples: a tenth of imitation's
    step, and half of it on small models."""
    small = parameters is not None and parameters < SMALL
    return {"learning_rate": learning_rate(adapter, parameters) * (0.5 if small else 0.1)}


def build(job: Job) -> Any:
    """TRL's GRPOTrainer with our rewards, telling what it tried."""
    from trl import GRPOConfig, GRPOTrainer

    knobs = job.knobs
    args = job.arguments(
        GRPOConfig,
        num_generations=knobs.attempts,
        max_completion_length=knobs.max_completion_length,
        temperature=knobs.temperature,
        top_p=knobs.top_p,
        beta=knobs.kl,
        loss_type=knobs.loss,
        scale_rewards=knobs.scale_rewards,
        epsilon=knobs.clip,
        reward_weights=[reward.weight for reward in job.spec.rewards],
    )
    return job.trainer(telling(GRPOTrainer, job), args, reward_funcs=job.rewards())
