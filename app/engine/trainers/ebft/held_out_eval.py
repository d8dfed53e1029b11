"""Held out: how near what a model writes comes in meaning to what it never saw, and how well it foretells the very words."""

from __future__ import annotations

from typing import Any

from app.data.rows import Row
from app.engine.job import MOST_HELD_OUT
from app.engine.trainers.ebft import block_generation, blocks
from app.engine.trainers.ebft.feature_rewards import alignment
from app.engine.trainers.ebft.features import padded, pieces
from app.engine.trainers.ebft.likelihood import held_out_loss
from app.engine.trainers.ebft.prompt_rows import documents, longest_answer, questions

Found = dict[str, float | None]


def of_answers(trainer: Any, rows: list[Row], turns: str, most: int) -> Found:
    """{"alignment": the mean cosine of the likeliest answers' features with the true ones', "loss"}. most: questions that are asked.

    Of a conversation that is written turn by turn, each answer is asked for after the true ones before it.
    """
    asked, _ = questions(rows, "all" if turns == "conversation" else turns)
    told = [trainer.words.told(row["prompt"], row["completion"]) for row in asked[:MOST_HELD_OUT]]
    loss = held_out_loss(trainer, [one.prompt + one.answer for one in told], [one.labels for one in told])
    prompts, answers = [one.prompt for one in told[:most]], [one.answer for one in told[:most]]
    if not prompts:
        return {"alignment": None, "loss": loss}
    limit = longest_answer([len(answer) for answer in answers], trainer.times, trainer.max_completion_length)
    said = block_generation.answers(trainer, prompts, limit)
    written = trainer.network.texts(trainer, prompts, said)
    wanted = trainer.network.texts(trainer, prompts, answers)
    return {"alignment": alignment(written[:, None], wanted).mean().item(), "loss": loss}


def of_blocks(trainer: Any, rows: list[Row], turns: str, most: int) -> Found:
    """The same for the likeliest words in every block of the texts. most: texts that are attempted."""
    import torch

    found, _ = documents(rows, trainer.words, turns, trainer.settings.plan)
    found = found[:MOST_HELD_OUT]
    loss = held_out_loss(trainer, [one.ids for one in found], [one.labels for one in found])
    order, likeness = sorted(range(len(found))[:most], key=lambda i: -len(found[i].ids)), []
    for part in pieces(order, 2 * len(found[order[0]].ids)) if order else []:
        ids, mask = padded([found[i].ids for i in part], trainer.accelerator.device)
        plan = blocks.layout(
            trainer.settings.plan, mask, torch.tensor([found[i].begin for i in part], device=ids.device)
        )
        written = trainer.attempt(trainer.model, ids, plan, 1, temperature=0.0)
        scored = trainer.judge(ids, plan, written, blocks.alive(written, trainer.words.ends))
        likeness += scored.likeness[plan.tried].flatten().tolist()
    return {"alignment": sum(likeness) / len(likeness) if likeness else None, "loss": loss}
