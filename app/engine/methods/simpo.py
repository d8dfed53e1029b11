"""The model learns to find the better of two answers likelier, token for token, by a margin, with no other model to compare with."""

from __future__ import annotations

from typing import TYPE_CHECKING

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
        2.0,
        "How strongly a pair pulls. Higher pulls harder at pairs that are still close; 2 to 10 are usual.",
        low=0.01,
        high=100.0,
        safe=(1.0, 10.0),
        log=True,
        everyday=True,
    )
    margin: float = knob(
        0.5,
        "How far ahead the better answer should be. A quarter to a half of beta is usual.",
        low=0.0,
        high=100.0,
        safe=(0.1, 5.0),
        everyday=True,
        library_name="simpo_gamma",
    )
    imitation: float = knob(
        0.0,
        "How much imitating the better answer counts beside preferring it; above 0 it keeps the language whole.",
        low=0.0,
        high=100.0,
        safe=(0.0, 1.0),
        library_name="cpo_alpha",
    )
    shape: float = knob(
        0.0,
        "Bends how likelihood counts (AlphaPO): above 0 unlikely answers pull harder, below 0 likely ones; 0 is SimPO. A quarter is usual.",
        low=-2.0,
        high=2.0,
        safe=(-0.5, 0.5),
        library_name="alpha",
    )


def step_memory(knobs: Knobs, lengths: RowLengths) -> StepMemory:
    """Both texts of each pair, with the logits of all their tokens."""
    return preference.whole_logits_memory(knobs, lengths, texts_per_row=2, copies=4.5 if knobs.imitation else 4.0)


def build(job: Job) -> Trainer:
    """TRL's CPOTrainer with SimPO's loss; with a shape it is AlphaPO."""
    from trl.experimental.cpo import CPOConfig, CPOTrainer

    from app.engine.trainers.cpo_orpo import CPO_MIXINS, NO_MAX_LENGTH, without_full_prompts

    knobs: Knobs = job.knobs
    args = job.arguments(
        CPOConfig,
        beta=knobs.beta,
        loss_type="simpo",
        simpo_gamma=knobs.margin,
        cpo_alpha=knobs.imitation,
        alpha=knobs.shape,
        max_length=NO_MAX_LENGTH,
        remove_unused_columns=False,
    )
    trainer_class = extended(without_full_prompts(CPOTrainer, knobs.max_length), CPO_MIXINS, job)
    return job.trainer(trainer_class, args, eval_dataset=eval_tables(job))


METHOD = preference.PairMethod(
    title="Prefer by a margin",
    term="SimPO",
    sentence=__doc__,
    experimental=True,
    knobs=Knobs,
    build=build,
    step_memory=step_memory,
)
