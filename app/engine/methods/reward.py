"""The model learns to give an answer a score, from pairs of which one answer is better."""

from __future__ import annotations

from typing import TYPE_CHECKING

from app.core.problems import Problem
from app.data.conversations.messages import last_message_text
from app.engine.contracts import Method, Metrics, Trainer
from app.engine.datasets.eval_tables import eval_tables
from app.engine.evaluation import scoring
from app.engine.trainers.compilation import CompileKnobs
from app.engine.trainers.device_settings import OffloadingKnobs
from app.engine.trainers.preference import PreferenceKnobs
from app.engine.trainers.training_args import default_learning_rate
from app.setup.knob import knob
from app.setup.step_memory import RowLengths, StepMemory

if TYPE_CHECKING:
    from datasets import Dataset

    from app.data.fields import Row
    from app.engine.job import Job

_SIDES = ("chosen", "rejected")
_NUM_SAMPLE_PAIRS = 3


class Knobs(CompileKnobs, OffloadingKnobs, PreferenceKnobs):
    max_length: int = knob(
        1024,
        "Pairs with an answer longer than this, prompt included, are left out. Longer takes more memory.",
        low=8,
        high=1_000_000,
        safe=(128, 4096),
        unit="tokens",
        everyday=True,
    )
    center: float = knob(
        0.01,
        "How strongly scores are held around zero, so that those of different prompts can be compared. 0 lets them drift.",
        low=0.0,
        high=10.0,
        safe=(0.0, 0.1),
        library_name="center_rewards_coefficient",
    )


def defaults(adapter: str, parameters: int | None) -> dict[str, float]:
    """Half of SFT's learning rate: the new score head starts from nothing and takes large steps well (TRL's is 1e-4)."""
    return {"learning_rate": default_learning_rate(adapter, parameters) * 0.5}


def step_memory(knobs: Knobs, lengths: RowLengths) -> StepMemory:
    """Both texts of each pair in one forward pass; a score for each, and no logits."""
    return StepMemory(texts=2 * knobs.batch_size, tokens=min(lengths.text, knobs.max_length))


def build(job: Job) -> Trainer:
    """TRL's RewardTrainer. The new score head is trained and saved with the adapter."""
    from trl import RewardConfig, RewardTrainer

    from app.engine.trainers.base import with_adapter

    knobs: Knobs = job.knobs
    tables = eval_tables(job)
    for rows in (job.data.train, *(tables or {}).values()):
        _require_all_margins_or_none(rows)
    args = job.arguments(RewardConfig, max_length=knobs.max_length, center_rewards_coefficient=knobs.center or None)
    # the adapter is initialised right after the head, as in TRL, whose trainer seeds again where it gets a model
    model = with_adapter(job.model, job.peft_config, args)
    trainer = job.trainer(RewardTrainer, args, model=model, peft_config=None, eval_dataset=tables)
    if job.max_rows is None and not len(trainer.train_dataset):
        raise Problem(
            f"Every pair is longer than the maximum length of {knobs.max_length} tokens.",
            advice="Raise the maximum length.",
            reason="no_rows",
        )
    return trainer


def _require_all_margins_or_none(rows: Dataset) -> None:
    """Raises Problem when only some pairs have a margin: those of the others would have to be guessed."""
    margins = rows["margin"] if "margin" in rows.column_names else []
    missing = sum(margin is None for margin in margins)
    if missing:
        raise Problem(
            f"{missing} of {len(rows)} pairs have no margin, and the others have one.",
            advice="Give every pair a margin, or leave the column out.",
            reason="wrong_column",
        )


def measure(job: Job, trainer: Trainer) -> Metrics:
    """Of the held-out pairs: {"sure": the mean probability of the chosen completion, by the loss's reading of a difference of
    scores (Bradley-Terry), "ranked": the share in which it scores higher}.

    An untrained head ranks by chance, well or badly, but its probabilities stay near 0.5.
    """
    margins = [chosen - rejected for chosen, rejected in _pair_scores(trainer, trainer.eval_dataset)]
    count = max(1, len(margins))
    return {"sure": sum(map(scoring.sigmoid, margins)) / count, "ranked": sum(margin > 0 for margin in margins) / count}


def samples(job: Job, trainer: Trainer) -> list[Row]:
    """A few held-out pairs with the score of each completion, the chosen one first."""
    rows = scoring.first_held_out_rows(trainer, _NUM_SAMPLE_PAIRS)
    return [
        {
            "prompt": last_message_text(row["prompt"]),
            "completion": last_message_text(row[side]),
            "given": True,
            "wanted": "higher" if side == "chosen" else "lower",
            "rewards": {"score": round(score, 4)},
        }
        for row, pair in zip(rows, _pair_scores(trainer, rows), strict=True)
        for side, score in zip(_SIDES, pair, strict=True)
    ]


def _pair_scores(trainer: Trainer, rows: Dataset) -> list[tuple[float, float]]:
    with trainer.compute_loss_context_manager():
        scores = scoring.score_texts(trainer.model, [row[f"{side}_ids"] for row in rows for side in _SIDES])
    return list(zip(scores[::2], scores[1::2], strict=True))


METHOD = Method(
    title="Score answers",
    term="Reward model",
    sentence=__doc__,
    family="score",
    row_types=("preference",),
    knobs=Knobs,
    build=build,
    step_memory=step_memory,
    defaults=defaults,
    produces="scores",
    batch_sides=_SIDES,
    curves={
        "accuracy": ("score/accuracy", "better answer scored higher"),
        "margin": ("score/margin", "margin between better and worse"),
        "mean_reward": ("score/mean", "mean score"),
        "min_reward": ("score/lowest", "lowest score"),
        "max_reward": ("score/highest", "highest score"),
    },
    eval_metrics={"sure": "how sure it is of the better answer", "ranked": "the better answer scores higher"},
    measure=measure,
    samples=samples,
)
