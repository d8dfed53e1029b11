"""The model learns to give the better of two answers, with no other model to compare with, and imitates it a little."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from pydantic import model_validator

from app.engine.contracts import Trainer
from app.engine.datasets.eval_tables import eval_tables
from app.engine.trainer_class import extended
from app.engine.trainers import preference
from app.engine.trainers.compilation import CompileKnobs
from app.setup.knob import knob
from app.setup.step_memory import RowLengths, StepMemory

if TYPE_CHECKING:
    from app.engine.job import Job


class Knobs(CompileKnobs, preference.PreferenceKnobs):
    beta: float = knob(
        0.1,
        "How strongly a pair pulls. Higher pulls harder at pairs that are still close.",
        low=0.001,
        high=10.0,
        safe=(0.05, 0.5),
        log=True,
        everyday=True,
    )
    imitation: float = knob(
        1.0,
        "How much imitating the better answer counts beside preferring it; it keeps the language whole.",
        low=0.0,
        high=100.0,
        safe=(0.1, 2.0),
        everyday=True,
        library_name="cpo_alpha",
    )
    loss: Literal["sigmoid", "hinge", "ipo"] = knob(
        "sigmoid",
        "How a pair pulls at the model.",
        choices={
            "sigmoid": "The likelier the better answer already is, the weaker the pull.",
            "hinge": "Pulls until the better answer is clearly ahead, then stops (SLiC).",
            "ipo": "Aims at a fixed distance between the two, token for token (IPO).",
        },
        library_name="loss_type",
    )
    label_smoothing: float = knob(
        0.0,
        "The share of pairs that may be judged the wrong way round. Used by sigmoid.",
        low=0.0,
        high=0.49,
        safe=(0.0, 0.2),
    )

    @model_validator(mode="after")
    def check_label_smoothing(self) -> Knobs:
        if self.label_smoothing and self.loss != "sigmoid":
            raise ValueError(f"label_smoothing means nothing to {self.loss}; set it to 0")
        return self


def step_memory(knobs: Knobs, lengths: RowLengths) -> StepMemory:
    """Both texts of each pair, with the logits of all their tokens, half of them once more for the imitated answer."""
    return preference.whole_logits_memory(knobs, lengths, texts_per_row=2, copies=4.5 if knobs.imitation else 4.0)


def build(job: Job) -> Trainer:
    """TRL's CPOTrainer."""
    from trl.experimental.cpo import CPOConfig, CPOTrainer

    from app.engine.trainers.cpo_orpo import CPO_MIXINS, NO_MAX_LENGTH, without_full_prompts

    knobs: Knobs = job.knobs
    args = job.arguments(
        CPOConfig,
        beta=knobs.beta,
        loss_type=knobs.loss,
        cpo_alpha=knobs.imitation,
        label_smoothing=knobs.label_smoothing,
        max_length=NO_MAX_LENGTH,
        remove_unused_columns=False,
    )
    trainer_class = extended(without_full_prompts(CPOTrainer, knobs.max_length), CPO_MIXINS, job)
    return job.trainer(trainer_class, args, eval_dataset=eval_tables(job))


METHOD = preference.PairMethod(
    title="Prefer without a model to compare with",
    term="CPO",
    sentence=__doc__,
    experimental=True,
    knobs=Knobs,
    build=build,
    step_memory=step_memory,
)
