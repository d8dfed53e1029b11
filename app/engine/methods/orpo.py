"""The model imitates the better of two answers and at the same time turns away from the worse one, with no other model to compare with."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from app.engine.trainers import preference
from app.engine.trainers.training_args import learning_rate
from app.setup.knob import knob

if TYPE_CHECKING:
    from app.engine.job import Job

TITLE = "Imitate and prefer in one go"
FAMILY = "prefer"
EXPERIMENTAL = True
LAYOUTS = ("preference",)
MEASURES, measure = preference.MEASURES, preference.preferred
CURVES = preference.CURVES | {
    "log_odds_chosen": ("prefer/log_odds", "odds of the better answer over the worse (logarithm)"),
    "log_odds_ratio": ("prefer/odds_loss", "what the odds add to the loss"),
}


class Knobs(preference.PreferenceKnobs):
    beta: float = knob(
        0.1, "How much turning away from worse answers counts beside imitating better ones.", low=0.001, high=10.0,
        safe=(0.05, 0.5), log=True, everyday=True)  # fmt: skip


def defaults(adapter: str, parameters: int | None) -> dict[str, Any]:
    """A third of imitation's step: most of the loss is imitation."""
    return {"learning_rate": learning_rate(adapter, parameters) * 0.3}


def build(job: Job) -> Any:
    """TRL's ORPOTrainer. Its imitation covers the prompt as well, as in the paper's own code."""
    from trl.experimental.orpo import ORPOConfig, ORPOTrainer

    from app.engine.trainers.cpo_orpo import UNCUT, mended

    args = job.arguments(ORPOConfig, beta=job.knobs.beta, max_length=UNCUT, remove_unused_columns=False)
    return job.trainer(mended(ORPOTrainer, job, imitates_prompt=True), args, eval_dataset=job.held_out_table())
