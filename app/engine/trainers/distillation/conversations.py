"""Dialogues: rows as those methods read them that need whole conversations: questions, and the last answer, which is learned."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from app.core.problems import Problem
from app.data.rows import Row
from app.engine.datasets.load import table
from app.engine.job import MOST_HELD_OUT

if TYPE_CHECKING:
    from app.engine.job import Job

# Columns that TRL's collator for these methods passes over, in words.
UNREAD = {"tools": "tools", "images": "pictures", "image": "pictures"}
NO_QUESTION = "no question before the answer"


def dialogues(job: Job) -> list[Row]:
    """[{"messages", "input_ids", "completion_mask", "row"}]: the job's rows in tokens, with the answer masked in.

    Rows longer than the maximum length are left out and counted: TRL would cut off where they begin. The job's own table
    becomes the conversations that are left, so that a preview finds them by "row". Raises Problem.
    """
    require_readable(job)
    kept = fitting(job, [turns_of(row) for row in job.data.train])
    if not kept:
        left_out = ", ".join(f"{count} × {reason}" for reason, count in job.data.dropped.items())
        raise Problem(f"No usable rows: all were left out ({left_out}).",
                      advice="Raise the maximum length, or check the examples.", reason="no_rows")  # fmt: skip
    job.data.train = table([{"messages": row["messages"]} for row in kept])
    return [row | {"row": number} for number, row in enumerate(kept)]


def held_out(job: Job) -> list[Row]:
    """The same of the rows kept aside for the held-out loss; none in a preview."""
    aside = [] if job.preview else job.data.holdout[:MOST_HELD_OUT]
    return [row for turns in map(turns_of, aside) if (row := in_tokens(job, turns)) and fits(job, row)]


def require_readable(job: Job) -> None:
    if not job.chat:
        raise Problem(f"“{job.method.TITLE}” reads conversations, and this model has no chat format.",
                      advice="Choose a model with one, or let it imitate examples instead.")  # fmt: skip
    found = next((UNREAD[name] for name in job.data.train.column_names if name in UNREAD), None)
    if found:
        raise Problem(f"The examples hold {found}, which “{job.method.TITLE}” does not read.",
                      advice="Let the model imitate them instead, or leave that column out.")  # fmt: skip


def turns_of(row: Row) -> list[Row]:
    """All turns up to the last answer; none where the row holds no answer."""
    turns = row["messages"] if "messages" in row else [*row["prompt"], *row["completion"]]
    last = max((number for number, turn in enumerate(turns) if turn["role"] == "assistant"), default=-1)
    return turns[: last + 1]


def fitting(job: Job, every: list[list[Row]]) -> list[Row]:
    rows = [in_tokens(job, turns) for turns in every]
    kept = [row for row in rows if row and fits(job, row)]
    unasked = rows.count(None)
    longer = f"longer than the maximum length of {job.knobs.max_length} tokens"
    counts = {NO_QUESTION: unasked, longer: len(rows) - unasked - len(kept)}
    job.data.dropped.update({reason: count for reason, count in counts.items() if count})
    return kept


def fits(job: Job, row: Row) -> bool:
    return len(row["input_ids"]) <= job.knobs.max_length


def in_tokens(job: Job, turns: list[Row]) -> Row | None:
    """As TRL's collator cuts it into tokens, before anything is cut off; None where nothing stands before the answer."""
    from trl.experimental.utils import DataCollatorForChatML

    if len(turns) < 2:
        return None
    batch = DataCollatorForChatML(job.tokenizer, max_length=sys.maxsize)([{"messages": turns}])
    ids, labels = (batch[name][0].tolist() for name in ("input_ids", "labels"))
    mask = [int(label != -100) for label in labels]
    return {"messages": turns, "input_ids": ids, "completion_mask": mask}
