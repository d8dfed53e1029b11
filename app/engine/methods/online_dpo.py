"""The model writes two answers to each prompt, and learns to give the one that earned more and not the other."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

from pydantic import model_validator

from app.engine.generation.sampling import TemplateKnobs, add_stops, arguments
from app.engine.trainers import online_dpo
from app.engine.trainers.group_rl import trainer
from app.engine.trainers.group_rl.rollout_logging import telling
from app.setup.knob import knob

if TYPE_CHECKING:
    from app.engine.job import Job

TITLE = "Prefer its own better answer"
FAMILY = "rewards"
LAYOUTS = ("prompt",)
NEEDS_REWARDS = True
EXPERIMENTAL = True
CURVES, defaults = online_dpo.CURVES, trainer.defaults


class Knobs(TemplateKnobs):
    batch_size: int = knob(
        16, "How many prompts each correction looks at; each is answered twice.", low=1, high=4096, safe=(8, 128),
        unit="prompts", everyday=True)  # fmt: skip
    temperature: float = knob(
        0.9, "How adventurous the answers are. Too low and both are alike, and nothing can be learned.",
        low=0.05, high=5.0, safe=(0.7, 1.2), everyday=True)  # fmt: skip
    beta: float = knob(
        0.1, "How strongly the model is held near its start. Higher changes less.", low=0.001, high=10.0, safe=(0.05, 0.5),
        log=True, everyday=True)  # fmt: skip
    loss: Literal["sigmoid", "ipo"] = knob(
        "sigmoid", "How a pair pulls at the model.",
        choices={"sigmoid": "DPO as first published: the likelier the better answer already is, the weaker the pull.",
                 "ipo": "Aims at a fixed distance between the two (IPO)."})  # fmt: skip
    skip_ties: bool = knob(
        True, "Learns nothing from two answers that earned the same; otherwise the first would count as the better one.")  # fmt: skip
    unfinished_penalty: float = knob(
        0.0, "Taken off the reward of an answer that was cut off.", low=0.0, high=1000.0)  # fmt: skip
    max_length: int = knob(
        2048, "Prompt and answer together; a longer prompt loses its beginning when it is learned from.", low=8, high=1_000_000,
        safe=(128, 8192), unit="tokens")  # fmt: skip

    @model_validator(mode="after")
    def a_prompt_has_room(self) -> Knobs:
        if self.max_completion_length >= self.max_length:
            raise ValueError(
                f"answers of {self.max_completion_length} tokens leave no room for a prompt in max_length ({self.max_length})"
            )
        return self


def build(job: Job) -> Any:
    """TRL's OnlineDPOTrainer with our rewards, telling what it tried."""
    import torch
    from trl.experimental.online_dpo import OnlineDPOConfig, OnlineDPOTrainer

    knobs = job.knobs
    args = job.arguments(
        OnlineDPOConfig,
        max_new_tokens=knobs.max_completion_length,
        max_length=knobs.max_length,
        beta=[knobs.beta],
        loss_type=knobs.loss,
        reward_weights=[reward.weight for reward in job.spec.rewards],
        **arguments(knobs),
    )
    add_stops(job.model, job.tokenizer, knobs.stop)
    trainer = type("OnlineDPOTrainer", (online_dpo.Contest, OnlineDPOTrainer), {"knobs": knobs})
    # in a preview nothing is compared with the start, and a copy of a model without weights could not be moved to a device
    own = {"ref_model": torch.nn.Identity()} if job.preview else {}
    own["processing_class"] = job.tokenizer  # TRL tells the template nothing here, so it has its arguments in it
    return job.trainer(telling(trainer, job), args, reward_funcs=job.rewards(), **own)
