"""Costs: how much of what is computed is padding, how many steps there are, and what joining short examples would change."""

from __future__ import annotations

from itertools import islice
from typing import Any

from app.engine.audit.base import Finding, finding, remedy
from app.engine.job import Job
from app.engine.preview import run_estimate, trainer_capture
from app.engine.tokens.tokenized_examples import positions

MUCH = 0.3  # of all positions
LOOKED_AT = 50  # batches that stand for all


def of(job: Job, trainer: Any, lengths: Any) -> tuple[dict[str, Any], list[Finding]]:
    """({"steps", "effective_batch", "padding": a share, "step_tokens", "packed_rows", "packed_steps"}, findings); None where unknown."""
    from transformers import set_seed

    loader = trainer.get_train_dataloader()
    counted = run_estimate.steps_of(trainer, loader)
    told = counted | {"padding": None, "step_tokens": None, "packed_rows": None, "packed_steps": None}
    if trainer_capture.writes_itself(trainer):
        return told, []
    set_seed(trainer.args.seed)
    batches = list(islice(iter(loader), LOOKED_AT))
    every = sum(positions(batch) for batch in batches)
    padding = 1 - sum(filled(batch) for batch in batches) / max(1, every)
    told |= {"padding": round(padding, 4), "step_tokens": round(every / max(1, len(batches)) * trainer.args.gradient_accumulation_steps, 1)}  # fmt: skip
    limit = getattr(job.knobs, "max_length", None)
    if "packing" in type(job.knobs).model_fields and not job.knobs.packing and limit and len(lengths):
        rows = joined(lengths, limit)
        told |= {"packed_rows": rows, "packed_steps": max(1, round(counted["steps"] * rows / len(lengths)))}
    return told, dear(job, padding)


def filled(batch: dict[str, Any]) -> int:
    """Positions that hold a token."""
    sides = [name.removesuffix("input_ids") for name in batch if name in ("input_ids", "chosen_input_ids", "rejected_input_ids")]  # fmt: skip
    masks = [batch.get(f"{side}attention_mask") for side in sides]
    return int(sum(batch[f"{side}input_ids"].numel() if mask is None else mask.sum() for side, mask in zip(sides, masks, strict=True)))  # fmt: skip


def dear(job: Job, padding: float) -> list[Finding]:
    if padding < MUCH:
        return []
    groups = "group_by_length" in type(job.knobs).model_fields and not job.knobs.group_by_length
    mend = remedy("Put examples of similar length together", knobs__group_by_length=True) if groups else None
    return [finding("padding", "careful", f"{padding * 100:.0f} % of what is computed is padding, as long and short examples stand together.", remedy=mend)]  # fmt: skip


def joined(lengths: Any, limit: int) -> int:
    """Rows that remain when examples are packed best fit, a thousand at a time, as TRL does: each into the fullest row with room."""
    from bisect import bisect_left, insort

    count = 0
    for start in range(0, len(lengths), 1000):
        room: list[int] = []  # left in the rows so far, least first
        for length in sorted((min(int(one), limit) for one in lengths[start : start + 1000]), reverse=True):
            place = bisect_left(room, length)
            left = room.pop(place) - length if place < len(room) else limit - length
            insort(room, left)
        count += len(room)
    return count
