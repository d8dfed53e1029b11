"""The model writes two answers to each prompt, and learns to give the one that earned more and not the other."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from pydantic import model_validator

from app.engine.contracts import Method, Trainer
from app.engine.generation.sampling import TemplateKnobs, add_stop_tokens, sampling_arguments
from app.engine.trainer_class import extended
from app.engine.trainers import online_dpo
from app.engine.trainers.group_rl import settings
from app.setup.knob import knob
from app.setup.step_memory import Logits, RowLengths, StepMemory

if TYPE_CHECKING:
    from app.engine.job import Job


class Knobs(TemplateKnobs):
    max_completion_length: int = knob(
        256,
        "Answers are cut off here. Shorter is much quicker.",
        low=1,
        high=1_000_000,
        safe=(4, 1024),
        unit="tokens",
        everyday=True,
        library_name="max_new_tokens",
    )
    batch_size: int = knob(
        16,
        "How many prompts each correction looks at; each is answered twice.",
        low=1,
        high=4096,
        safe=(8, 128),
        unit="prompts",
        everyday=True,
    )
    temperature: float = knob(
        0.9,
        "How adventurous the answers are. Too low and both are alike, and nothing can be learned.",
        low=0.05,
        high=5.0,
        safe=(0.7, 1.2),
        everyday=True,
    )
    beta: float = knob(
        0.1,
        "How strongly the model is held near its start. Higher changes less.",
        low=0.001,
        high=10.0,
        safe=(0.05, 0.5),
        log=True,
        everyday=True,
    )
    loss: Literal["sigmoid", "ipo"] = knob(
        "sigmoid",
        "How a pair pulls at the model.",
        choices={
            "sigmoid": "DPO as first published: the likelier the better answer already is, the weaker the pull.",
            "ipo": "Aims at a fixed distance between the two (IPO).",
        },
        library_name="loss_type",
    )
    skip_ties: bool = knob(
        True, "Learns nothing from two answers that earned the same; otherwise the first would count as the better one."
    )
    unfinished_penalty: float = knob(
        0.0,
        "Taken off the reward of an answer that was cut off.",
        low=0.0,
        high=1000.0,
        library_name="missing_eos_penalty",
    )
    max_length: int = knob(
        2048,
        "Prompt and answer together; a longer prompt loses its beginning when it is learned from.",
        low=8,
        high=1_000_000,
        safe=(128, 8192),
        unit="tokens",
        affects="rows",
    )

    @model_validator(mode="after")
    def check_prompt_has_room(self) -> Knobs:
        if self.max_completion_length >= self.max_length:
            raise ValueError(
                f"answers of {self.max_completion_length} tokens leave no room for a prompt in max_length ({self.max_length})"
            )
        return self


def step_memory(knobs: Knobs, lengths: RowLengths) -> StepMemory:
    """Two answers to each prompt, with the logits of all tokens, those of the answers twice more."""
    tokens = min(lengths.prompt + knobs.max_completion_length, knobs.max_length)
    return StepMemory(
        texts=2 * knobs.batch_size,
        tokens=tokens,
        logits=(Logits(positions=tokens), Logits(positions=knobs.max_completion_length, copies=2.0)),
        generated_texts=2 * knobs.batch_size,
        generated_tokens=tokens,
        keeps_start=True,
    )


def build(job: Job) -> Trainer:
    """TRL's OnlineDPOTrainer with the spec's rewards and rollout logging."""
    import torch
    from trl.experimental.online_dpo import OnlineDPOConfig, OnlineDPOTrainer

    knobs: Knobs = job.knobs
    args = job.arguments(
        OnlineDPOConfig,
        max_new_tokens=knobs.max_completion_length,
        max_length=knobs.max_length,
        beta=[knobs.beta],
        loss_type=knobs.loss,
        reward_weights=[reward.weight for reward in job.spec.rewards],
        **sampling_arguments(knobs),
    )
    add_stop_tokens(job.model, job.tokenizer, knobs.stop)
    # a preview needs no reference, and a copy of a model without weights could not be moved to a device
    kwargs = {"ref_model": torch.nn.Identity()} if job.preview else {}
    trainer_class = extended(OnlineDPOTrainer, online_dpo.ONLINE_DPO_MIXINS, job)
    # TRL passes the template no arguments here; the template of `job.tokenizer` contains them
    return job.trainer(trainer_class, args, reward_funcs=job.rewards(), processing_class=job.tokenizer, **kwargs)


METHOD = Method(
    title="Prefer its own better answer",
    term="Online DPO",
    sentence=__doc__,
    family="rewards",
    experimental=True,
    row_types=("prompt",),
    knobs=Knobs,
    build=build,
    step_memory=step_memory,
    defaults=settings.defaults,
    needs_rewards=True,
    curves=online_dpo.CURVES,
)
