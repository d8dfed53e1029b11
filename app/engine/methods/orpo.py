"""The model imitates the better of two answers and at the same time turns away from the worse one, with no other model to compare with."""

from __future__ import annotations

from typing import TYPE_CHECKING

from app.engine.contracts import Trainer
from app.engine.datasets.eval_tables import eval_tables
from app.engine.trainer_class import extended
from app.engine.trainers import preference
from app.engine.trainers.compilation import CompileKnobs
from app.engine.trainers.training_args import default_learning_rate
from app.setup.knob import knob
from app.setup.step_memory import RowLengths, StepMemory

if TYPE_CHECKING:
    from app.engine.job import Job


class Knobs(CompileKnobs, preference.PreferenceKnobs):
    beta: float = knob(
        0.1,
        "How much turning away from worse answers counts beside imitating better ones.",
        low=0.001,
        high=10.0,
        safe=(0.05, 0.5),
        log=True,
        everyday=True,
    )


def defaults(adapter: str, parameters: int | None) -> dict[str, float]:
    """A third of SFT's learning rate: most of the loss is the NLL of the chosen completion."""
    return {"learning_rate": default_learning_rate(adapter, parameters) * 0.3}


def step_memory(knobs: Knobs, lengths: RowLengths) -> StepMemory:
    """Both texts of each pair, with the logits of all their tokens, half of them once more for the imitated answer."""
    return preference.whole_logits_memory(knobs, lengths, texts_per_row=2, copies=4.5)


def build(job: Job) -> Trainer:
    """TRL's ORPOTrainer. Its NLL loss covers the prompt as well, as in the paper's own code."""
    from trl.experimental.orpo import ORPOConfig, ORPOTrainer

    from app.engine.trainers.cpo_orpo import NO_MAX_LENGTH, ORPO_MIXINS, without_full_prompts

    knobs: Knobs = job.knobs
    args = job.arguments(ORPOConfig, beta=knobs.beta, max_length=NO_MAX_LENGTH, remove_unused_columns=False)
    trainer_class = extended(without_full_prompts(ORPOTrainer, knobs.max_length), ORPO_MIXINS, job)
    return job.trainer(trainer_class, args, eval_dataset=eval_tables(job))


METHOD = preference.PairMethod(
    title="Imitate and prefer in one go",
    term="ORPO",
    sentence=__doc__,
    experimental=True,
    knobs=Knobs,
    build=build,
    step_memory=step_memory,
    defaults=defaults,
    curves=preference.CURVES
    | {
        "log_odds_chosen": ("prefer/log_odds", "odds of the better answer over the worse (logarithm)"),
        "log_odds_ratio": ("prefer/odds_loss", "what the odds add to the loss"),
    },
)
