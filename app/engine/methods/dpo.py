"""The model learns to give the better of two answers, and not the worse one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from pydantic import model_validator

from app.engine.contracts import Trainer
from app.engine.datasets.eval_tables import eval_tables
from app.engine.trainer_class import extended
from app.engine.trainers import preference
from app.engine.trainers.compilation import CompileKnobs
from app.engine.trainers.device_settings import OffloadingKnobs
from app.setup.knob import knob
from app.setup.step_memory import Logits, RowLengths, StepMemory

if TYPE_CHECKING:
    from app.engine.job import Job


_LOSSES = {
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
}
# {name: {TRL's loss: its weight}}. MPO as InternVL's paper weighs it, RPO as DPO with imitation of the better answer.
_MIXES = {"mpo": {"sigmoid": 0.8, "bco_pair": 0.2, "sft": 1.0}, "rpo": {"sigmoid": 1.0, "sft": 1.0}}
_SMOOTHED_LOSSES = {"robust", "exo_pair", "aot", "aot_unpaired"}  # those that read label_smoothing
_DIVERGENCE_LOSSES = {
    "sigmoid",
    "sigmoid_norm",
    "hinge",
    "ipo",
    "exo_pair",
    "robust",
    "discopop",
    "sft",
}  # another divergence has a meaning here only
_UNWEIGHTABLE_LOSSES = {"aot", "aot_unpaired", "sft"}  # TRL cannot weigh the pairs of these


class Knobs(CompileKnobs, OffloadingKnobs, preference.ReferenceKnobs):
    loss: Literal[
        "sigmoid",
        "sigmoid_norm",
        "hinge",
        "ipo",
        "robust",
        "exo_pair",
        "nca_pair",
        "bco_pair",
        "sppo_hard",
        "aot",
        "aot_unpaired",
        "apo_zero",
        "apo_down",
        "discopop",
        "sft",
        "mpo",
        "rpo",
        "own_mix",
    ] = knob(
        "sigmoid",
        "How a pair pulls at the model.",
        everyday=True,
        choices=_LOSSES
        | {
            "mpo": "A mix: DPO, BCO and imitation (MPO, weights 0.8, 0.2 and 1).",
            "rpo": "A mix: DPO and imitation of the better answer in equal parts (RPO).",
            "own_mix": "A mix of your own: write it below.",
        },
        library_name="loss_type",
        affects="timing",
    )
    mix: str = knob(
        "",
        "Your own mix of the choices above, each with its weight: sigmoid 0.8, bco_pair 0.2, sft 1.",
        affects="timing",
    )
    label_smoothing: float = knob(
        0.0,
        "The share of pairs that may be judged the wrong way round. Used by robust, exo_pair, aot and aot_unpaired.",
        low=0.0,
        high=0.49,
        safe=(0.0, 0.2),
    )
    divergence: Literal["reverse_kl", "forward_kl", "js_divergence", "alpha_divergence"] = knob(
        "reverse_kl",
        "How the distance from the start is counted (f-DPO).",
        choices={
            "reverse_kl": "As in DPO: to say what the start would not say costs most.",
            "forward_kl": "To lose what the start would say costs most: answers stay varied.",
            "js_divergence": "Between the two.",
            "alpha_divergence": "Between the two, by the number below.",
        },
        library_name="f_divergence_type",
    )
    divergence_alpha: float = knob(
        0.5,
        "Where alpha_divergence lies: near 0 like forward_kl, towards 1 like reverse_kl.",
        low=0.01,
        high=0.99,
        library_name="f_alpha_divergence_coef",
    )
    beyond_shorter: float = knob(
        1.0,
        "How much the part of the longer answer counts that goes beyond the shorter one (LD-DPO). Less of it: no favour for length.",
        low=0.0,
        high=1.0,
        library_name="ld_alpha",
    )
    weigh_pairs: bool = knob(
        False,
        "Pairs that the model might have said itself count more (WPO): for answers that other models wrote.",
        library_name="use_weighting",
        affects="timing",
    )

    @model_validator(mode="after")
    def check_loss_settings(self) -> Knobs:
        if bool(self.mix.strip()) != (self.loss == "own_mix"):
            raise ValueError("a mix of your own is written in mix and chosen as own_mix; set both or neither")
        names = set(loss_weights(self))
        if "exo_pair" in names and self.label_smoothing == 0:
            raise ValueError("exo_pair needs a label_smoothing above 0; its paper takes 0.001")
        if self.label_smoothing and not names & _SMOOTHED_LOSSES:
            raise ValueError(f"label_smoothing means nothing to {self.loss}; set it to 0")
        if self.divergence != "reverse_kl" and (unsupported := sorted(names - _DIVERGENCE_LOSSES)):
            raise ValueError(f"{unsupported[0]} knows no other divergence than reverse_kl")
        if self.weigh_pairs and (unsupported := sorted(names & _UNWEIGHTABLE_LOSSES)):
            raise ValueError(f"weigh_pairs cannot weigh the pairs of {unsupported[0]}")
        return self


def loss_weights(knobs: Knobs) -> dict[str, float]:
    """{TRL's loss: its weight}. Raises ValueError for a mix that cannot be read."""
    return parse_mix(knobs.mix) if knobs.loss == "own_mix" else _MIXES.get(knobs.loss, {knobs.loss: 1.0})


def parse_mix(mix: str) -> dict[str, float]:
    """{loss: weight} of a text such as `sigmoid 0.8, sft 1`. Raises ValueError."""
    weights: dict[str, float] = {}
    for entry in mix.split(","):
        name, _, weight = entry.strip().partition(" ")
        if name not in _LOSSES or name in weights:
            raise ValueError(f"“{name}” is no loss to mix, or is named twice; there are {', '.join(_LOSSES)}")
        try:
            weights[name] = float(weight)
        except ValueError:
            raise ValueError(f"“{entry.strip()}” should be a loss and its weight, such as sigmoid 0.8") from None
        if not 0 < weights[name] <= 1000:
            raise ValueError(f"the weight of {name} should be above 0 and at most 1000")
    return weights


def step_memory(knobs: Knobs, lengths: RowLengths) -> StepMemory:
    """Both texts of each pair in one forward pass; the reference reads them without gradients."""
    tokens = min(lengths.text, knobs.max_length)
    logits = Logits(positions=min(lengths.learned, tokens), kernel="tiled")
    keeps_start = not knobs.precompute_reference
    return StepMemory(texts=2 * knobs.batch_size, tokens=tokens, logits=(logits,), keeps_start=keeps_start)


def build(job: Job) -> Trainer:
    """TRL's DPOTrainer. With an adapter, the model without it is the reference, which needs no memory."""
    from trl import DPOConfig, DPOTrainer

    knobs: Knobs = job.knobs
    mix = loss_weights(knobs)
    args = job.arguments(
        DPOConfig,
        **preference.reference_config_args(job),
        loss_type=list(mix),
        loss_weights=list(mix.values()),
        label_smoothing=knobs.label_smoothing,
        f_divergence_type=knobs.divergence,
        f_alpha_divergence_coef=knobs.divergence_alpha,
        ld_alpha=None if knobs.beyond_shorter == 1 else knobs.beyond_shorter,
        use_weighting=knobs.weigh_pairs,
    )
    return job.trainer(
        extended(DPOTrainer, preference.REFERENCE_MIXINS, job),
        args,
        ref_model=preference.reference_model(job),
        eval_dataset=eval_tables(job),
    )


METHOD = preference.PairMethod(
    title="Prefer this over that",
    term="DPO",
    sentence=__doc__,
    knobs=Knobs,
    build=build,
    step_memory=step_memory,
    batch_sides=("chosen", "rejected"),
    check=preference.check,
)
