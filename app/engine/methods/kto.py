"""The model learns from single answers that were liked or not."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

from pydantic import model_validator

from app.engine.trainers import preference
from app.setup.knob import knob

if TYPE_CHECKING:
    from app.engine.job import Job

TITLE = "Learn from thumbs up and down"
FAMILY = "prefer"
LAYOUTS = ("thumbs", "preference")
CURVES = {
    "rewards/margins": ("prefer/margin", "margin between liked and disliked"),
    "rewards/chosen": ("prefer/chosen", "liked answers"),
    "rewards/rejected": ("prefer/rejected", "disliked answers"),
}
MEASURES = {"told_apart": "a liked answer is likelier than a disliked one"}
defaults, measure, check = preference.defaults, preference.told_apart, preference.check


class Knobs(preference.ReferenceKnobs):
    batch_size: int = knob(
        8, "How many examples each correction looks at together. More is steadier and takes more memory.",
        low=1, high=4096, safe=(4, 64), unit="examples", everyday=True)  # fmt: skip
    loss: Literal["kto", "apo_zero_unpaired"] = knob(
        "kto", "How an answer pulls at the model.",
        choices={"kto": "Against how far the model has moved on other answers (KTO): what is better or worse than usual counts.",
                 "apo_zero_unpaired": "Against the start alone (APO): for a model that is worse than the answers liked."})  # fmt: skip
    balance: bool = knob(
        True,
        "Lets the rarer of liked and disliked answers count more, so that both sides weigh the same.",
        everyday=True,
    )
    liked_weight: float = knob(1.0, "How much liked answers count, beside that.", low=0.0, high=100.0, safe=(0.5, 2.0))
    disliked_weight: float = knob(
        1.0, "How much disliked answers count, beside that.", low=0.0, high=100.0, safe=(0.5, 2.0)
    )

    @model_validator(mode="after")
    def a_batch_has_neighbours(self) -> Knobs:
        if self.loss == "kto" and self.batch_size < 2:
            raise ValueError("kto compares each answer with its neighbour in the batch, so a batch_size of 2 is the least; accumulation does not help")  # fmt: skip
        if self.liked_weight == self.disliked_weight == 0:
            raise ValueError("liked_weight and disliked_weight are both 0, so nothing would be learned")
        return self


def arranged(job: Job, table: Any) -> Any:
    """The rows as TRL's trainer reads them: in this very order. A pair is one liked and one disliked answer.

    TRL would put all liked answers of a file before all disliked ones, and its batches would hold one kind alone, from
    which little is learned. The first rows of a preview keep the order of the file.
    """
    if "chosen" in table.column_names:
        table = table.map(unpaired, batched=True, remove_columns=table.column_names)
    return table if job.rows is not None else table.shuffle(seed=job.spec.seed)


def unpaired(pairs: dict[str, list[Any]]) -> dict[str, list[Any]]:
    """Columns of pairs as columns of answers, each pair's two one after the other."""
    kept = {name: [value for value in values for _ in range(2)] for name, values in pairs.items() if name not in ("chosen", "rejected", "margin")}  # fmt: skip
    answers = [answer for pair in zip(pairs["chosen"], pairs["rejected"], strict=True) for answer in pair]
    return kept | {"completion": answers, "label": [True, False] * len(pairs["chosen"])}


def weights(knobs: Knobs, labels: list[bool]) -> dict[str, float]:
    """TRL's two weights. In balance the sums of both sides are alike: KTO's paper allows 1 to 4/3 (its equation 8)."""
    liked = sum(labels)
    disliked = len(labels) - liked
    rarer = max(liked, disliked) / min(liked, disliked) if knobs.balance and liked and disliked else 1.0
    return {
        "desirable_weight": knobs.liked_weight * (rarer if liked < disliked else 1.0),
        "undesirable_weight": knobs.disliked_weight * (rarer if disliked < liked else 1.0),
    }


def build(job: Job) -> Any:
    """TRL's KTOTrainer. Beside an adapter the untouched model is the reference, at no cost."""
    from trl import KTOConfig, KTOTrainer

    knobs, held_out = job.knobs, job.held_out_table()
    args = job.arguments(
        KTOConfig,
        **preference.reference_arguments(job),
        **weights(knobs, list(job.data.train["label"])),
        loss_type=knobs.loss,
        train_sampling_strategy="sequential" if knobs.loss == "kto" else "random",
    )
    return job.trainer(preference.comparing(KTOTrainer), args, ref_model=preference.reference(job),
                       eval_dataset=held_out and arranged(job, held_out))  # fmt: skip
