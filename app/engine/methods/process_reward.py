"""The model learns to judge each step of a solution as right or wrong."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from app.core.problems import Problem
from app.engine.evaluation import scoring
from app.engine.trainers import prm
from app.engine.trainers.preference import PreferenceKnobs
from app.engine.trainers.training_args import learning_rate
from app.setup.knob import knob

if TYPE_CHECKING:
    from app.engine.job import Job

TITLE = "Judge steps"
FAMILY = "score"
LAYOUTS = ("stepwise",)
MODEL = "step_scores"
CURVES = {"accuracy": ("score/steps", "steps judged right")}
MEASURES = {"judged": "steps judged right", "sure": "how sure it is of the right judgement"}
SHOWN = 3  # held-out solutions at each test


class Knobs(PreferenceKnobs):
    epochs: float = knob(
        3.0, "How often every solution is seen. More learns it better, until the model recites instead of understanding.",
        low=0.01, high=1000, safe=(1, 10), unit="passes", everyday=True)  # fmt: skip
    max_length: int = knob(
        1024, "Longer solutions are cut off here, and steps beyond it are not judged. Longer takes more memory.", low=8,
        high=1_000_000, safe=(128, 4096), unit="tokens", everyday=True)  # fmt: skip
    step_separator: str = knob(
        "\n", "What ends each step; the judgement is read at its last token. Steps must be written so when the result is used.")  # fmt: skip
    last_step_only: bool = knob(False, "Learns from the last step's judgement alone, and only reads the others.")


def defaults(adapter: str, parameters: int | None) -> dict[str, Any]:
    """Half of imitation's step, as for scores of whole answers."""
    return {"learning_rate": learning_rate(adapter, parameters) * 0.5}


def build(job: Job) -> Any:
    """A small trainer of ours: each step's judgement is a token to classify."""
    from transformers import TrainingArguments

    knobs = job.knobs
    if not knobs.step_separator:
        raise Problem("The step separator is empty, so nothing marks where a step ends.", advice="Use a line break.")
    if job.rows is None:
        require_both(job.data.train["labels"])
    return job.trainer(
        prm.trainer_class(),
        job.arguments(TrainingArguments),
        eval_dataset=job.held_out_table(),
        separator=knobs.step_separator,
        last_only=knobs.last_step_only,
        max_length=knobs.max_length,
    )


def require_both(labels: list[list[bool]]) -> None:
    """Raises Problem when every step is judged alike: always saying so would be the whole lesson."""
    kinds = {label for row in labels for label in row}
    if len(kinds) < 2:
        only = "right" if kinds == {True} else "wrong"
        raise Problem(f"Every step of the examples is judged {only}, so there is nothing to tell apart.",
                      advice="Add solutions with steps of both kinds.", reason="wrong_column")  # fmt: skip


def measure(job: Job, trainer: Any) -> dict[str, float | None]:
    """Of the held-out steps: {"judged": the share that is judged as it should be, "sure": the mean chance that is given to the
    judgement that it should have}."""
    found = [
        chance if label else 1 - chance for row in judgements(trainer, trainer.eval_dataset) for chance, label in row
    ]
    count = max(1, len(found))
    return {"judged": sum(one > 0.5 for one in found) / count, "sure": sum(found) / count}


def judgements(trainer: Any, rows: Any) -> list[list[tuple[float, int]]]:
    """For each prepared row (chance that a step is right, its label), step by step."""
    with trainer.compute_loss_context_manager():
        chances = scoring.chances(trainer.model, rows["input_ids"])
    labels = [[label for label in row if label != prm.UNLEARNED] for row in rows["labels"]]
    places = [[i for i, label in enumerate(row) if label != prm.UNLEARNED] for row in rows["labels"]]
    return [
        [(row[i], label) for i, label in zip(where, judged, strict=True)]
        for row, where, judged in zip(chances, places, labels, strict=True)
    ]


def samples(job: Job, trainer: Any) -> list[dict[str, Any]]:
    """A few held-out solutions, each step with its judgement."""
    rows = trainer.eval_dataset.select(range(min(SHOWN, len(trainer.eval_dataset))))
    return [
        {"prompt": raw["prompt"], "given": True, "steps": raw["completions"], "wanted": ", ".join("right" if label else "wrong" for label in raw["labels"]),
         "completion": "\n".join(f"{scoring.verdict(chance)}: {step}" for (chance, _), step in zip(told, raw["completions"], strict=False))}
        for row, told in zip(rows, judgements(trainer, rows), strict=True)
        for raw in [job.data.holdout[row["row"]]]
    ]  # fmt: skip
