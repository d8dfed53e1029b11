"""Whether a trainer's prepared rows leave anything to learn: preview, plan, audit and run ask the same."""

from __future__ import annotations

from typing import TYPE_CHECKING

from app.core.problems import Problem
from app.engine.datasets.row_filter import truncation_length
from app.engine.datasets.token_columns import count_tokens

if TYPE_CHECKING:
    from datasets import Dataset

    from app.engine.job import Job

_FIRST_ROWS = 200  # in nearly all runs one of these has something to learn, and the others need not be looked at


def require_trained_tokens(job: Job, table: Dataset, uncut_rows: Dataset | None = None) -> None:
    """Raises Problem where no row has a token to learn within the maximum length. Methods that score texts have a check of
    their own.

    table: as the trainer prepared it. uncut_rows: the rows before truncation, where they are known. Rows without tokens,
    such as prompts, pass.
    """
    if job.kind != "causal":
        return
    if not len(table):
        raise _nothing_to_learn(job, uncut_rows)
    limit = None if getattr(job.knobs, "packing", False) else truncation_length(job)
    for row_count in (min(_FIRST_ROWS, len(table)), len(table)):
        token_counts = count_tokens(table.select(range(row_count)), limit)
        if token_counts is None or token_counts[1].any():
            return
    raise _nothing_to_learn(job, uncut_rows or table)


def _nothing_to_learn(job: Job, uncut_rows: Dataset | None) -> Problem:
    """uncut_rows: None where the trainer itself has left out all rows, which it does for their length."""
    text = f"Nothing of {'the first of ' if job.max_rows is not None else ''}these examples would be learned"
    limit, reason = truncation_length(job), "nothing_to_learn"
    if job.data.dropped:
        reasons = ", ".join(f"{count} × {why}" for why, count in job.data.dropped.items())
        advice = "Leave out fewer of them, or bring others."
        return Problem(f"{text}: left out are {reasons}.", advice=advice, reason=reason)
    counts = count_tokens(uncut_rows, None) if uncut_rows is not None and len(uncut_rows) else None
    if limit and (counts is None or (counts[1].any() and counts[0].max() > limit)):
        longest = f" The longest example has {counts[0].max():,} tokens." if counts else ""
        return Problem(
            f"{text}: what should be learned begins only beyond the maximum length of {limit} tokens.",
            advice=f"Set the maximum length higher.{longest}",
            reason=reason,
        )
    advice = "Check what is learned of each example."
    return Problem(f"{text}: no part of them is marked to be learned.", advice=advice, reason=reason)
