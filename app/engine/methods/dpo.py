"""The model learns to give the better of two answers, and not the worse one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

from pydantic import model_validator

from app.engine import preferring
from app.engine.knob import knob

if TYPE_CHECKING:
    from app.engine.job import Job

TITLE = "Prefer this over that"
FAMILY = "prefer"
LAYOUTS = ("preference",)
SIDES = ("chosen", "rejected")
CURVES, MEASURES, defaults, measure = preferring.CURVES, preferring.MEASURES, preferring.defaults, preferring.preferred

# {name: (TRL's losses, their weights)}. The mixes: MPO as InternVL's paper weighs it, RPO as DPO with imitation of the better answer.
MIXES = {
    "mpo": (("sigmoid", "bco_pair", "sft"), (0.8, 0.2, 1.0)),
    "rpo": (("sigmoid", "sft"), (1.0, 1.0)),
}
# Losses that give the softening of labels a meaning.
SOFT = ("sigmoid", "robust", "exo_pair")


class Knobs(preferring.PreferenceKnobs):
    beta: float = knob(
        0.1, "How strongly the model is held near its start. Higher changes less.", low=0.001, high=10.0, safe=(0.05, 0.5),
        log=True, everyday=True)  # fmt: skip
    loss: Literal[
        "sigmoid", "sigmoid_norm", "hinge", "ipo", "robust", "exo_pair", "nca_pair", "bco_pair", "sppo_hard", "aot", "aot_unpaired",
        "apo_zero", "apo_down", "discopop", "sft", "mpo", "rpo",
    ] = knob(
        "sigmoid", "How a pair pulls at the model.",
        choices={
            "sigmoid": "DPO as first published: the likelier the better answer already is, the weaker the pull.",
            "sigmoid_norm": "The same for each token instead of the whole answer: no favour for long answers.",
            "hinge": "Pulls until the better answer is clearly ahead, then stops (SLiC).",
            "ipo": "Aims at a fixed distance between the two (IPO): overdoes it less on small data.",
            "robust": "Expects some pairs to be judged the wrong way round (robust DPO): set the share below.",
            "exo_pair": "Follows the exact best compromise of reward and closeness (EXO); needs some softening below.",
            "nca_pair": "Also keeps the better answer from becoming less likely (NCA).",
            "bco_pair": "Judges each answer by itself as good or bad (BCO).",
            "sppo_hard": "A game of the model against itself (SPPO), with certain winners.",
            "aot": "Compares the sorted scores of good and bad answers, not pair by pair (AOT).",
            "aot_unpaired": "The same for answers that do not belong together.",
            "apo_zero": "Makes better answers likelier and worse ones less likely (APO): for a model that is worse than your better answers.",
            "apo_down": "Makes both less likely, worse ones more (APO): for a model that is better than your better answers.",
            "discopop": "A loss found by a language model (DiscoPOP): between DPO and a plain exponential.",
            "sft": "Only imitates the better answers.",
            "mpo": "A mix: DPO, BCO and imitation (MPO, weights 0.8, 0.2 and 1).",
            "rpo": "A mix: DPO and imitation of the better answer in equal parts (RPO).",
        })  # fmt: skip
    label_smoothing: float = knob(
        0.0, "The share of pairs that may be judged the wrong way round. Used by sigmoid, robust and exo_pair.", low=0.0, high=0.49,
        safe=(0.0, 0.2))  # fmt: skip
    precompute_reference: bool = knob(
        False, "Asks the untouched model about all pairs beforehand: less memory later, a longer start."
    )

    @model_validator(mode="after")
    def softening_has_a_meaning(self) -> Knobs:
        if self.loss == "exo_pair" and self.label_smoothing == 0:
            raise ValueError("exo_pair needs a label_smoothing above 0; its paper takes 0.001")
        if self.label_smoothing and self.loss not in SOFT:
            raise ValueError(f"label_smoothing means nothing to {self.loss}; set it to 0")
        return self


def build(job: Job) -> Any:
    """TRL's DPOTrainer. Beside an adapter the untouched model is the reference, at no cost."""
    from trl import DPOConfig, DPOTrainer

    knobs = job.knobs
    losses, weights = MIXES.get(knobs.loss, ((knobs.loss,), (1.0,)))
    args = job.arguments(
        DPOConfig,
        beta=knobs.beta,
        loss_type=list(losses),
        loss_weights=list(weights),
        label_smoothing=knobs.label_smoothing,
        max_length=knobs.max_length,
        precompute_ref_log_probs=knobs.precompute_reference and not job.preview,
    )
    return job.trainer(DPOTrainer, args, eval_dataset=job.held_out_table())
