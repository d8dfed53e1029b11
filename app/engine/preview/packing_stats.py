"""Packing statistics: the share of padding, the number of steps, and what packing short examples would change."""

from __future__ import annotations

from bisect import bisect_left, insort
from itertools import islice
from typing import TYPE_CHECKING

from app.engine.audit.base import Finding, build_finding, build_remedy
from app.engine.job import Job
from app.engine.preview import run_estimate, trainer_capture
from app.engine.tokens.tokenized_examples import count_positions

if TYPE_CHECKING:
    from torch import Tensor

    from app.engine.contracts import Trainer
    from app.engine.tokens.tokenized_examples import IntArray

_HIGH_PADDING = 0.3  # share of all positions
_SAMPLED_BATCHES = 50  # batches that stand for all
_PACKED_BATCH_ROWS = 1000  # examples that TRL packs at a time


class TrainingCost(run_estimate.StepCounts):
    """What of the training is computed; None for what is unknown.

    padding: a share of all positions. step_tokens: positions of an average step. packed_rows, packed_steps: with
    packing.
    """

    padding: float | None
    step_tokens: float | None
    packed_rows: int | None
    packed_steps: int | None


def measure_padding(job: Job, trainer: Trainer, lengths: IntArray) -> tuple[TrainingCost, list[Finding]]:
    """(the cost, findings on it). lengths: of the examples, in tokens."""
    from transformers import set_seed

    loader = trainer.get_train_dataloader()
    counts = run_estimate.count_steps(trainer, loader)
    cost: TrainingCost = {**counts, "padding": None, "step_tokens": None, "packed_rows": None, "packed_steps": None}
    if trainer_capture.generates_completions(trainer):
        return cost, []
    set_seed(trainer.args.seed)
    batches = list(islice(iter(loader), _SAMPLED_BATCHES))
    positions = sum(count_positions(batch) for batch in batches)
    padding = 1 - sum(_count_tokens(batch) for batch in batches) / max(1, positions)
    step_tokens = positions / max(1, len(batches)) * trainer.args.gradient_accumulation_steps
    cost["padding"], cost["step_tokens"] = round(padding, 4), round(step_tokens, 1)
    limit = getattr(job.knobs, "max_length", None)
    if "packing" in type(job.knobs).model_fields and not job.knobs.packing and limit and len(lengths):
        rows = _count_packed_rows(lengths, limit)
        cost["packed_rows"] = rows
        cost["packed_steps"] = max(1, round(counts["steps"] * rows / len(lengths)))
    return cost, _padding_findings(job, padding)


def _count_tokens(batch: dict[str, Tensor]) -> int:
    """Positions of a batch that hold a token."""
    count = 0
    for name in ("input_ids", "chosen_input_ids", "rejected_input_ids"):
        if name in batch:
            mask = batch.get(f"{name.removesuffix('input_ids')}attention_mask")
            count += batch[name].numel() if mask is None else int(mask.sum())
    return count


def _padding_findings(job: Job, padding: float) -> list[Finding]:
    if padding < _HIGH_PADDING:
        return []
    can_group = "group_by_length" in type(job.knobs).model_fields and not job.knobs.group_by_length
    remedy = build_remedy("Put examples of similar length together", knobs__group_by_length=True) if can_group else None
    text = f"{padding * 100:.0f} % of what is computed is padding, as long and short examples stand together."
    return [build_finding("padding", "careful", text, remedy=remedy)]


def _count_packed_rows(lengths: IntArray, limit: int) -> int:
    """Rows that remain when examples are packed by best-fit decreasing, a thousand at a time, as TRL does: each into
    the fullest row that has room for it."""
    count = 0
    for start in range(0, len(lengths), _PACKED_BATCH_ROWS):
        room_left: list[int] = []  # of the rows so far, in tokens, ascending
        batch_lengths = lengths[start : start + _PACKED_BATCH_ROWS]
        for length in sorted((min(int(length), limit) for length in batch_lengths), reverse=True):
            index = bisect_left(room_left, length)
            room = room_left.pop(index) if index < len(room_left) else limit
            insort(room_left, room - length)
        count += len(room_left)
    return count
