"""The model tries answers, a second one learns to foretell what they will earn, and the first does more of what earned more than foretold."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from pydantic import model_validator

from app.core.problems import Problem
from app.engine.contracts import Method, Trainer
from app.engine.generation.sampling import TemplateKnobs, add_stop_tokens
from app.engine.trainers.training_args import SMALL_MODEL_PARAMETERS, default_learning_rate
from app.setup.knob import knob
from app.setup.step_memory import Logits, RowLengths, StepMemory

if TYPE_CHECKING:
    from app.engine.job import Job
    from app.setup.spec import Spec


class Knobs(TemplateKnobs):
    batch_size: int = knob(
        64,
        "How many answers are written before the model learns from them: prompts times attempts.",
        low=1,
        high=65_536,
        safe=(32, 1024),
        unit="answers",
        everyday=True,
        library_name=None,
    )
    attempts: int = knob(
        1,
        "How many answers are tried for each prompt. The critic makes comparing them unnecessary, so one is enough.",
        low=1,
        high=256,
        safe=(1, 8),
        unit="answers",
        affects="order",
    )
    passes: int = knob(
        4,
        "How often each batch of answers is learned from. More is quicker, and further from what the model would say by then.",
        low=1,
        high=100,
        safe=(1, 4),
        unit="passes",
        library_name="num_ppo_epochs",
        affects="order",
    )
    minibatches: int = knob(
        4,
        "Into how many equal parts each pass cuts the batch; the model is corrected after each.",
        low=1,
        high=4096,
        safe=(1, 8),
        unit="parts",
        library_name="num_mini_batches",
        affects="order",
    )
    accumulation: int = knob(
        1,
        "Computes each part in so many pieces: less memory, the same effect.",
        low=1,
        high=4096,
        unit="pieces",
        library_name=None,
    )
    kl: float = knob(
        0.05,
        "How strongly the model is held near its start: moving away costs reward at every token. 0 lets it go.",
        low=0.0,
        high=10.0,
        safe=(0.01, 0.2),
        everyday=True,
        library_name="kl_coef",
        affects="timing",
    )
    value_from: Literal["auto", "reward_model", "policy"] = knob(
        "auto",
        "What the critic begins as.",
        choices={
            "auto": "The reward model where one of the rewards is one, else the model itself.",
            "reward_model": "The reward model: it knows already what good answers look like.",
            "policy": "The model as this run starts from it, with a new head that expects nothing yet.",
        },
        affects="timing",
    )
    value_learning_rate: float | None = knob(
        None, "How big each correction of the critic is.", low=1e-7, high=1e-1, log=True
    )
    clip: float = knob(
        0.2,
        "How far one batch may take a token from the model that wrote it.",
        low=1e-5,
        high=100.0,
        safe=(0.1, 0.3),
        library_name="cliprange",
    )
    value_clip: float = knob(
        0.2,
        "How far one batch may take the critic's expectation from what it was.",
        low=1e-5,
        high=1e6,
        safe=(0.1, 1.0),
        library_name="cliprange_value",
    )
    discount: float = knob(
        1.0,
        "What a reward is worth one token earlier (gamma). 1 counts the end of an answer in full at its beginning.",
        low=0.0,
        high=1.0,
        safe=(0.95, 1.0),
        library_name="gamma",
    )
    trace: float = knob(
        0.95,
        "How far back a surprise is felt (lambda). 1 trusts only what was earned, 0 only the critic.",
        low=0.0,
        high=1.0,
        safe=(0.9, 1.0),
        library_name="lam",
    )
    unfinished_penalty: float = knob(
        0.0,
        "Taken off the reward of an answer that was cut off.",
        low=0.0,
        high=1000.0,
        library_name="missing_eos_penalty",
    )

    @model_validator(mode="after")
    def check_batch_divides(self) -> Knobs:
        num_pieces = self.minibatches * self.accumulation
        for name, unit in (("attempts", self.attempts), ("parts", num_pieces)):
            if self.batch_size % unit:
                nearest = max(1, round(self.batch_size / unit)) * unit
                division = (
                    f"groups of {unit} attempts"
                    if name == "attempts"
                    else f"{num_pieces} equal parts ({self.minibatches} minibatches of {self.accumulation} pieces)"
                )
                raise ValueError(f"a batch of {self.batch_size} answers cannot be split into {division}; try {nearest}")
        return self


def defaults(adapter: str, parameters: int | None) -> dict[str, float]:
    """As for GRPO a tenth of SFT's learning rate, half of it on small models; the critic, a regression, takes all of it."""
    is_small = parameters is not None and parameters < SMALL_MODEL_PARAMETERS
    full = default_learning_rate(adapter, parameters)
    return {"learning_rate": full * (0.5 if is_small else 0.1), "value_learning_rate": full}


def step_memory(knobs: Knobs, lengths: RowLengths) -> StepMemory:
    """A piece of a minibatch, read by the model and by the critic; the answers of a whole round are written at once."""
    tokens = lengths.prompt + knobs.max_completion_length
    return StepMemory(
        texts=knobs.batch_size // (knobs.minibatches * knobs.accumulation),
        tokens=tokens,
        logits=(Logits(positions=knobs.max_completion_length + 1, copies=4.0),),
        generated_texts=knobs.batch_size,
        generated_tokens=tokens,
        keeps_start=True,
        keeps_critic=True,
    )


def build(job: Job) -> Trainer:
    """PPO as in InstructGPT, with app/engine/trainers/ppo: TRL dropped its own."""
    from transformers import TrainingArguments

    from app.engine.trainers.group_rl.trainer import require_enough_prompts
    from app.engine.trainers.ppo.critic import build_critic
    from app.engine.trainers.ppo.trainer import ppo_trainer_class

    knobs: Knobs = job.knobs
    require_enough_prompts(job, knobs.batch_size // knobs.attempts)
    add_stop_tokens(job.model, job.tokenizer, knobs.stop)
    args = job.arguments(TrainingArguments, gradient_accumulation_steps=1, remove_unused_columns=False)
    is_training = not job.preview and job.max_rows is None  # a preview or dry run samples at most
    return job.trainer(
        ppo_trainer_class(job),
        args,
        rewards=job.rewards(),
        weights=[reward.weight for reward in job.spec.rewards],
        critic=build_critic(job, knobs.value_from) if is_training else None,
        processing_class=job.tokenizer,  # its chat template contains the arguments
    )


def check(spec: Spec) -> None:
    """Preflight: raises Problem where the critic should begin as a reward model and there is none."""
    from app.engine.trainers.ppo.critic import find_model_reward

    if spec.knobs["value_from"] == "reward_model" and find_model_reward(spec) is None:
        raise Problem(
            "The critic should begin as the reward model, and no reward of this setup is one.",
            advice="Add the reward “A reward model”, or let the critic begin as the model itself.",
        )


METHOD = Method(
    title="Earn rewards with a critic",
    term="PPO",
    sentence=__doc__,
    family="rewards",
    row_types=("prompt",),
    knobs=Knobs,
    build=build,
    step_memory=step_memory,
    defaults=defaults,
    needs_rewards=True,
    curves={
        "policy/kl": ("policy/kl", "distance from the start"),
        "policy/entropy": ("policy/entropy", "how undecided the model is"),
        "policy/clipped": ("policy/clipped", "share of tokens held back by the clip"),
        "policy/length": ("policy/length", "length of an answer, in tokens"),
        "policy/cut_off": ("policy/cut_off", "share of answers cut off"),
        "policy/loss": ("policy/loss", "loss of the model"),
        "value/loss": ("value/loss", "loss of the critic"),
        "value/explained": ("value/explained", "how much of the rewards the critic foretold"),
    },
    check=check,
)
