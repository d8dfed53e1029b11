"""The model learns to give an answer a score, from pairs of which one answer is better."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from app.core.problems import Problem
from app.engine.evaluation import scoring
from app.engine.trainers.preference import PreferenceKnobs
from app.engine.trainers.training_args import learning_rate
from app.setup.knob import knob

if TYPE_CHECKING:
    from app.engine.job import Job

TITLE = "Score answers"
FAMILY = "score"
LAYOUTS = ("preference",)
MODEL = "scores"
SIDES = ("chosen", "rejected")
CURVES = {
    "accuracy": ("score/accuracy", "better answer scored higher"),
    "margin": ("score/margin", "margin between better and worse"),
    "mean_reward": ("score/mean", "mean score"),
    "min_reward": ("score/lowest", "lowest score"),
    "max_reward": ("score/highest", "highest score"),
}
MEASURES = {"sure": "how sure it is of the better answer", "ranked": "the better answer scores higher"}
PAIRS_SHOWN = 3


class Knobs(PreferenceKnobs):
    max_length: int = knob(
        1024, "Pairs with an answer longer than this, prompt included, are left out. Longer takes more memory.", low=8,
        high=1_000_000, safe=(128, 4096), unit="tokens", everyday=True)  # fmt: skip
    center: float = knob(
        0.01, "How strongly scores are held around zero, so that those of different prompts can be compared. 0 lets them drift.",
        low=0.0, high=10.0, safe=(0.0, 0.1))  # fmt: skip


def defaults(adapter: str, parameters: int | None) -> dict[str, Any]:
    """Half of imitation's step: the head that gives the score begins from nothing and takes large steps well (TRL's is 1e-4)."""
    return {"learning_rate": learning_rate(adapter, parameters) * 0.5}


def build(job: Job) -> Any:
    """TRL's RewardTrainer. The new head that gives the score is trained and saved with the adapter."""
    from trl import RewardConfig, RewardTrainer

    from app.engine.trainers.base import with_adapter

    knobs, held_out = job.knobs, job.held_out_table()
    require_margins_or_none(job.data.train)
    if held_out:
        require_margins_or_none(held_out)
    args = job.arguments(RewardConfig, max_length=knobs.max_length, center_rewards_coefficient=knobs.center or None)
    # the adapter is drawn right after the head, as in TRL: its trainer sets the seed anew where it is given a model
    model = with_adapter(job.model, job.peft_config, args)
    trainer = job.trainer(RewardTrainer, args, model=model, peft_config=None, eval_dataset=held_out)
    if job.rows is None and not len(trainer.train_dataset):
        raise Problem(f"Every pair is longer than the maximum length of {knobs.max_length} tokens.", advice="Raise the maximum length.", reason="no_rows")  # fmt: skip
    return trainer


def require_margins_or_none(rows: Any) -> None:
    """Raises Problem when only some pairs say by how much one is better: the others would have to be guessed."""
    margins = rows["margin"] if "margin" in rows.column_names else []
    missing = sum(margin is None for margin in margins)
    if missing:
        raise Problem(f"{missing} of {len(rows)} pairs have no margin, and the others have one.",
                      advice="Give every pair a margin, or leave the column out.", reason="wrong_column")  # fmt: skip


def measure(job: Job, trainer: Any) -> dict[str, float | None]:
    """Of the held-out pairs: {"sure": the mean probability that the better answer is the better one, as the loss reads a
    difference of scores (Bradley-Terry), "ranked": the share in which it scores higher}.

    A head that knows nothing ranks by luck, well or badly; it is never sure.
    """
    apart = [chosen - rejected for chosen, rejected in scored_pairs(trainer, trainer.eval_dataset)]
    count = max(1, len(apart))
    return {"sure": sum(map(scoring.sigmoid, apart)) / count, "ranked": sum(one > 0 for one in apart) / count}


def samples(job: Job, trainer: Any) -> list[dict[str, Any]]:
    """A few held-out pairs with the score of each answer, the better one first."""
    rows = trainer.eval_dataset.select(range(min(PAIRS_SHOWN, len(trainer.eval_dataset))))
    return [
        {"prompt": scoring.words(row["prompt"]), "completion": scoring.words(row[side]), "given": True,
         "wanted": "higher" if side == "chosen" else "lower", "rewards": {"score": round(score, 4)}}
        for row, pair in zip(rows, scored_pairs(trainer, rows), strict=True)
        for side, score in zip(SIDES, pair, strict=True)
    ]  # fmt: skip


def scored_pairs(trainer: Any, rows: Any) -> list[tuple[float, float]]:
    with trainer.compute_loss_context_manager():
        found = scoring.scores(trainer.model, [row[f"{side}_ids"] for row in rows for side in SIDES])
    return list(zip(found[::2], found[1::2], strict=True))
