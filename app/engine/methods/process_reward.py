"""The model learns to judge each step of a solution as right or wrong."""

from __future__ import annotations

from typing import TYPE_CHECKING

from app.core.problems import Problem
from app.engine.contracts import Method, Metrics, Trainer
from app.engine.datasets.eval_tables import eval_tables
from app.engine.evaluation import scoring
from app.engine.trainer_class import extended
from app.engine.trainers import prm
from app.engine.trainers.base import base_trainer_class
from app.engine.trainers.compilation import CompileKnobs
from app.engine.trainers.preference import PreferenceKnobs
from app.engine.trainers.training_args import default_learning_rate
from app.setup.knob import knob
from app.setup.step_memory import RowLengths, StepMemory

if TYPE_CHECKING:
    from datasets import Dataset

    from app.data.fields import Row
    from app.engine.job import Job

_LABEL_WORDS = {1: "right", 0: "wrong", prm.IGNORE_INDEX: "not judged"}  # keys also match true and false
_NUM_SAMPLES = 3  # held-out solutions shown at each evaluation


class Knobs(CompileKnobs, PreferenceKnobs):
    epochs: float = knob(
        3.0,
        "How often every solution is seen. More learns it better, until the model recites instead of understanding.",
        low=0.01,
        high=1000,
        safe=(1, 10),
        unit="passes",
        everyday=True,
    )
    max_length: int = knob(
        1024,
        "Longer solutions are cut off here, and steps beyond it are not judged. Longer takes more memory.",
        low=8,
        high=1_000_000,
        safe=(128, 4096),
        unit="tokens",
        everyday=True,
    )
    step_separator: str = knob(
        "\n",
        "What ends each step; the judgement is read at its last token. Steps must be written so when the result is used.",
        affects="rows",
    )
    last_step_only: bool = knob(
        False,
        "Learns from the last step's judgement alone, and only reads the others.",
        library_name="train_on_last_step_only",
        affects="rows",
    )


def defaults(adapter: str, parameters: int | None) -> dict[str, float]:
    """Half of SFT's learning rate, as for the reward method."""
    return {"learning_rate": default_learning_rate(adapter, parameters) * 0.5}


def step_memory(knobs: Knobs, lengths: RowLengths) -> StepMemory:
    """A batch of solutions; two scores for each token, and no logits."""
    return StepMemory(texts=knobs.batch_size, tokens=min(lengths.text, knobs.max_length))


def build(job: Job) -> Trainer:
    """The trainer of app/engine/trainers/prm.py: each step's judgement is a token to classify."""
    from transformers import TrainingArguments

    knobs: Knobs = job.knobs
    if not knobs.step_separator:
        raise Problem("The step separator is empty, so nothing marks where a step ends.", advice="Use a line break.")
    if job.max_rows is None:
        _require_both_labels(job.data.train["labels"])
    return job.trainer(
        extended(base_trainer_class(), prm.PRM_MIXINS, job),
        job.arguments(TrainingArguments),
        eval_dataset=eval_tables(job),
        separator=knobs.step_separator,
        last_only=knobs.last_step_only,
        max_length=knobs.max_length,
    )


def _require_both_labels(labels: list[list[int]]) -> None:
    """Raises Problem when all judged steps have the same label: the model would learn to say that always."""
    kinds = {label for row in labels for label in row if label != prm.IGNORE_INDEX}
    if len(kinds) < 2:
        only = "right" if kinds == {True} else "wrong"
        raise Problem(
            f"Every step of the examples is judged {only}, so there is nothing to tell apart.",
            advice="Add solutions with steps of both kinds.",
            reason="wrong_column",
        )


def measure(job: Job, trainer: Trainer) -> Metrics:
    """Of the held-out steps: {"judged": the share with the right label, "sure": the mean probability of the right label}."""
    correct_label_probs = [
        chance if label else 1 - chance
        for row in _step_probabilities(trainer, trainer.eval_dataset)
        for chance, label in row
    ]
    count = max(1, len(correct_label_probs))
    return {"judged": sum(prob > 0.5 for prob in correct_label_probs) / count, "sure": sum(correct_label_probs) / count}


def _step_probabilities(trainer: Trainer, rows: Dataset) -> list[list[tuple[float, int]]]:
    """For each tokenized row (probability that the step is right, its label), step by step."""
    with trainer.compute_loss_context_manager():
        chances = scoring.step_probabilities(trainer.model, rows["input_ids"])
    labels = [[label for label in row if label != prm.IGNORE_INDEX] for row in rows["labels"]]
    label_positions = [[i for i, label in enumerate(row) if label != prm.IGNORE_INDEX] for row in rows["labels"]]
    return [
        [(row[i], label) for i, label in zip(positions, step_labels, strict=True)]
        for row, positions, step_labels in zip(chances, label_positions, labels, strict=True)
    ]


def _judged_steps(row: Row) -> list[str]:
    """The steps of a row without those that are only read."""
    steps = zip(row["completions"], row["labels"], strict=True)
    return [step for step, label in steps if label != prm.IGNORE_INDEX]


def samples(job: Job, trainer: Trainer) -> list[Row]:
    """A few held-out solutions, each step with its predicted label."""
    rows = scoring.first_held_out_rows(trainer, _NUM_SAMPLES)
    return [
        {
            "prompt": raw_row["prompt"],
            "given": True,
            "steps": raw_row["completions"],
            "wanted": ", ".join(_LABEL_WORDS[label] for label in raw_row["labels"]),
            "completion": "\n".join(
                f"{scoring.format_verdict(chance)}: {step}"
                for (chance, _), step in zip(steps, _judged_steps(raw_row), strict=False)
            ),
        }
        for row, steps in zip(rows, _step_probabilities(trainer, rows), strict=True)
        for raw_row in [job.data.holdout[row["row"]]]
    ]


METHOD = Method(
    title="Judge steps",
    term="PRM",
    sentence=__doc__,
    family="score",
    row_types=("stepwise",),
    knobs=Knobs,
    build=build,
    step_memory=step_memory,
    defaults=defaults,
    produces="step_scores",
    curves={"accuracy": ("score/steps", "steps judged right")},
    eval_metrics={"judged": "steps judged right", "sure": "how sure it is of the right judgement"},
    measure=measure,
    samples=samples,
)
