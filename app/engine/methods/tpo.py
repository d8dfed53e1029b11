"""The model imitates the best answer there is and learns to give the better of two others."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from pydantic import model_validator

from app.engine.contracts import Trainer
from app.engine.datasets.eval_tables import eval_tables
from app.engine.trainers import preference
from app.engine.trainers.compilation import CompileKnobs
from app.setup.knob import knob
from app.setup.step_memory import RowLengths, StepMemory

if TYPE_CHECKING:
    from app.engine.job import Job


class Knobs(CompileKnobs, preference.PreferenceKnobs):
    beta: float = knob(
        0.01,
        "How strongly a pair pulls. By the token (tpo_l) a hundred times as much is usual.",
        low=0.0001,
        high=100.0,
        safe=(0.005, 5.0),
        log=True,
        everyday=True,
    )
    imitation: float = knob(
        1.0,
        "How much imitating the best answer counts beside preferring the better of the others.",
        low=0.001,
        high=100.0,
        safe=(0.1, 2.0),
        everyday=True,
        library_name="tpo_alpha",
    )
    loss: Literal["sigmoid", "hinge", "ipo", "tpo_l"] = knob(
        "sigmoid",
        "How a pair pulls at the model.",
        choices={
            "sigmoid": "The likelier the better answer already is, the weaker the pull.",
            "hinge": "Pulls until the better answer is clearly ahead, then stops (SLiC).",
            "ipo": "Aims at a fixed distance between the two, token for token (IPO).",
            "tpo_l": "Token for token, by the margin below (TPO-L): no favour for long answers.",
        },
        library_name="loss_type",
    )
    margin: float = knob(
        0.5,
        "How far ahead the better answer should be. Used by tpo_l.",
        low=0.0,
        high=100.0,
        safe=(0.1, 5.0),
        library_name="tpo_l_gamma",
    )
    label_smoothing: float = knob(
        0.0,
        "The share of pairs that may be judged the wrong way round. Used by sigmoid and tpo_l.",
        low=0.0,
        high=0.49,
        safe=(0.0, 0.2),
    )

    @model_validator(mode="after")
    def check_label_smoothing(self) -> Knobs:
        if self.label_smoothing and self.loss not in ("sigmoid", "tpo_l"):
            raise ValueError(f"label_smoothing means nothing to {self.loss}; set it to 0")
        return self


def step_memory(knobs: Knobs, lengths: RowLengths) -> StepMemory:
    """The two texts of each pair and the best answer, with the logits of all their tokens."""
    return preference.whole_logits_memory(knobs, lengths, texts_per_row=3, copies=4.0)


def build(job: Job) -> Trainer:
    """TRL's TPOTrainer."""
    from trl.experimental.tpo import TPOConfig, TPOTrainer

    from app.engine.trainers.cpo_orpo import without_full_prompts

    knobs: Knobs = job.knobs
    args = job.arguments(
        TPOConfig,
        beta=knobs.beta,
        loss_type=knobs.loss.replace("_", "-"),
        tpo_alpha=knobs.imitation,
        tpo_l_gamma=knobs.margin,
        label_smoothing=knobs.label_smoothing,
        max_length=knobs.max_length,
    )
    return job.trainer(without_full_prompts(TPOTrainer, knobs.max_length), args, eval_dataset=eval_tables(job))


METHOD = preference.PairMethod(
    title="Prefer, with a best answer to imitate",
    term="TPO",
    sentence=__doc__,
    experimental=True,
    row_types=("ranked",),
    knobs=Knobs,
    build=build,
    step_memory=step_memory,
    batch_sides=("chosen", "rejected", "reference"),
)
