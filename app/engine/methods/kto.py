"""The model learns from single answers that were liked or not."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from pydantic import model_validator

from app.engine.contracts import Method, Trainer
from app.engine.datasets.eval_tables import eval_tables, plain_table
from app.engine.trainer_class import extended
from app.engine.trainers import preference
from app.engine.trainers.compilation import CompileKnobs
from app.engine.trainers.device_settings import OffloadingKnobs
from app.setup.knob import knob
from app.setup.step_memory import Logits, RowLengths, StepMemory

if TYPE_CHECKING:
    from datasets import Dataset

    from app.data.fields import Cell
    from app.engine.job import Job


class Knobs(CompileKnobs, OffloadingKnobs, preference.ReferenceKnobs):
    batch_size: int = knob(
        8,
        "How many examples each correction looks at together. More is steadier and takes more memory.",
        low=1,
        high=4096,
        safe=(1, 64),
        unit="examples",
        everyday=True,
        affects="rows",
    )
    loss: Literal["kto", "apo_zero_unpaired"] = knob(
        "kto",
        "How an answer pulls at the model.",
        choices={
            "kto": "Against how far the model has moved on other answers (KTO): what is better or worse than usual counts.",
            "apo_zero_unpaired": "Against the start alone (APO): for a model that is worse than the answers liked.",
        },
        library_name="loss_type",
        affects="rows",
    )
    balance: bool = knob(
        True,
        "Lets the rarer of liked and disliked answers count more, so that both sides weigh the same.",
        everyday=True,
    )
    liked_weight: float = knob(
        1.0,
        "How much liked answers count, beside that.",
        low=0.0,
        high=100.0,
        safe=(0.5, 2.0),
        library_name="desirable_weight",
    )
    disliked_weight: float = knob(
        1.0,
        "How much disliked answers count, beside that.",
        low=0.0,
        high=100.0,
        safe=(0.5, 2.0),
        library_name="undesirable_weight",
    )

    @model_validator(mode="after")
    def check_batch_and_weights(self) -> Knobs:
        if self.loss == "kto" and self.batch_size < 2:
            raise ValueError(
                "kto compares each answer with its neighbour in the batch, so a batch_size of 2 is the least; accumulation does not help"
            )
        if self.liked_weight == self.disliked_weight == 0:
            raise ValueError("liked_weight and disliked_weight are both 0, so nothing would be learned")
        return self


def arrange_rows(job: Job, dataset: Dataset) -> Dataset:
    """The rows shuffled, in the order that TRL's trainer keeps. A pair becomes one liked and one disliked completion.

    TRL would put all liked completions of a file before all disliked ones, and with batches of one kind little is
    learned. The first rows of a preview keep the order of the file.
    """
    if "chosen" in dataset.column_names:
        dataset = dataset.map(unpair, batched=True, remove_columns=dataset.column_names)
    return dataset if job.max_rows is not None else dataset.shuffle(seed=job.spec.seed)


def unpair(pairs: dict[str, list[Cell]]) -> dict[str, list[Cell]]:
    """Columns of pairs as columns of completions, the two of a pair one after the other."""
    columns = {
        name: [entry for entry in column for _ in range(2)]
        for name, column in pairs.items()
        if name not in ("chosen", "rejected", "margin")
    }
    completions = [completion for pair in zip(pairs["chosen"], pairs["rejected"], strict=True) for completion in pair]
    return columns | {"completion": completions, "label": [True, False] * len(pairs["chosen"])}


def side_weights(knobs: Knobs, labels: list[bool]) -> dict[str, float]:
    """TRL's two weights. With `balance` the sums of both sides are equal: KTO's paper allows 1 to 4/3 (its equation 8)."""
    liked = sum(labels)
    disliked = len(labels) - liked
    rarer_side_factor = max(liked, disliked) / min(liked, disliked) if knobs.balance and liked and disliked else 1.0
    return {
        "desirable_weight": knobs.liked_weight * (rarer_side_factor if liked < disliked else 1.0),
        "undesirable_weight": knobs.disliked_weight * (rarer_side_factor if disliked < liked else 1.0),
    }


def step_memory(knobs: Knobs, lengths: RowLengths) -> StepMemory:
    """A batch of single answers; those that it is compared with are read without gradients."""
    tokens = min(lengths.text, knobs.max_length)
    logits = Logits(positions=min(lengths.learned, tokens), kernel="tiled")
    return StepMemory(
        texts=knobs.batch_size,
        tokens=tokens,
        logits=(logits,),
        keeps_start=not knobs.precompute_reference,
        depends_on_batch=knobs.loss == "kto",
    )


def build(job: Job) -> Trainer:
    """TRL's KTOTrainer. With an adapter, the model without it is the reference, which needs no memory."""
    from trl import KTOConfig, KTOTrainer

    knobs: Knobs = job.knobs
    args = job.arguments(
        KTOConfig,
        **preference.reference_config_args(job),
        **side_weights(knobs, list(job.data.train["label"])),
        loss_type=knobs.loss,
        train_sampling_strategy="sequential" if knobs.loss == "kto" else "random",
    )
    return job.trainer(
        extended(KTOTrainer, preference.REFERENCE_MIXINS, job),
        args,
        ref_model=preference.reference_model(job),
        eval_dataset=eval_tables(job, lambda rows: arrange_rows(job, plain_table(job, rows))),
    )


METHOD = Method(
    title="Learn from thumbs up and down",
    term="KTO",
    sentence=__doc__,
    family="prefer",
    row_types=("thumbs", "preference"),
    knobs=Knobs,
    build=build,
    step_memory=step_memory,
    defaults=preference.defaults,
    curves={
        "rewards/margins": ("prefer/margin", "margin between liked and disliked"),
        "rewards/chosen": ("prefer/chosen", "liked answers"),
        "rewards/rejected": ("prefer/rejected", "disliked answers"),
    },
    eval_metrics={"told_apart": "a liked answer is likelier than a disliked one"},
    check=preference.check,
    arrange_rows=arrange_rows,
    measure=preference.thumbs_roc_auc,
)
