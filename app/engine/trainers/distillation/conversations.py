"""Tokenized conversations for the distillation methods: a prompt, and the last answer, which is trained."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from app.core.problems import Problem
from app.data.rows import Row
from app.engine.datasets.load import build_table

if TYPE_CHECKING:
    from datasets import Dataset

    from app.engine.job import Job

EVAL_COLUMNS = ("messages", "input_ids", "completion_mask")
# Columns that TRL's collator for these methods ignores, with their names in messages.
_UNSUPPORTED_COLUMNS = {"tools": "tools", "images": "pictures", "image": "pictures"}
_NO_QUESTION = "no question before the answer"


def tokenize_conversations(job: Job) -> list[Row]:
    """[{"messages", "input_ids", "completion_mask", "row"}]: the training rows; the mask is 1 on the last answer.

    Rows longer than the maximum length are left out and counted, since TRL would truncate their beginning. The job's
    training table is replaced by the conversations that remain, so that the preview finds them by "row". Raises
    Problem.
    """
    _require_supported(job)
    usable_rows = _usable_rows(job, [_messages_to_last_answer(row) for row in job.data.train])
    if not usable_rows:
        left_out = ", ".join(f"{count} × {reason}" for reason, count in job.data.dropped.items())
        raise Problem(
            f"No usable rows: all were left out ({left_out}).",
            advice="Raise the maximum length, or check the examples.",
            reason="no_rows",
        )
    job.data.train = build_table([{"messages": row["messages"]} for row in usable_rows])
    return [row | {"row": index} for index, row in enumerate(usable_rows)]


def eval_conversations_table(job: Job, rows: list[Row], columns: Sequence[str] = EVAL_COLUMNS) -> Dataset | None:
    """The same for rows to evaluate, as a table of these columns; None where none of them can be used."""
    tokenized = [_tokenize_conversation(job, _messages_to_last_answer(row)) for row in rows]
    usable = [{name: row[name] for name in columns} for row in tokenized if row and _fits_max_length(job, row)]
    return build_table(usable) if usable else None


def _require_supported(job: Job) -> None:
    if not job.uses_chat_template:
        raise Problem(
            f"“{job.method.title}” reads conversations, and this model has no chat format.",
            advice="Choose a model with one, or let it imitate examples instead.",
        )
    unsupported = next(
        (_UNSUPPORTED_COLUMNS[name] for name in job.data.train.column_names if name in _UNSUPPORTED_COLUMNS), None
    )
    if unsupported:
        raise Problem(
            f"The examples hold {unsupported}, which “{job.method.title}” does not read.",
            advice="Let the model imitate them instead, or leave that column out.",
        )


def _messages_to_last_answer(row: Row) -> list[Row]:
    """All messages up to the last answer; empty where the row has no answer."""
    messages = row["messages"] if "messages" in row else [*row["prompt"], *row["completion"]]
    last_answer = max((index for index, message in enumerate(messages) if message["role"] == "assistant"), default=-1)
    return messages[: last_answer + 1]


def _usable_rows(job: Job, conversations: list[list[Row]]) -> list[Row]:
    rows = [_tokenize_conversation(job, messages) for messages in conversations]
    usable_rows = [row for row in rows if row and _fits_max_length(job, row)]
    unanswered_count = rows.count(None)
    too_long = f"longer than the maximum length of {job.knobs.max_length} tokens"
    counts = {_NO_QUESTION: unanswered_count, too_long: len(rows) - unanswered_count - len(usable_rows)}
    job.data.dropped.update({reason: count for reason, count in counts.items() if count})
    return usable_rows


def _fits_max_length(job: Job, row: Row) -> bool:
    return len(row["input_ids"]) <= job.knobs.max_length


def _tokenize_conversation(job: Job, messages: list[Row]) -> Row | None:
    """Tokenized by TRL's collator, without truncation; None where no message stands before the answer."""
    from trl.experimental.utils import DataCollatorForChatML

    if len(messages) < 2:
        return None
    batch = DataCollatorForChatML(job.tokenizer, max_length=sys.maxsize)([{"messages": messages}])
    input_ids, labels = (batch[name][0].tolist() for name in ("input_ids", "labels"))
    completion_mask = [int(label != -100) for label in labels]
    return {"messages": messages, "input_ids": input_ids, "completion_mask": completion_mask}
