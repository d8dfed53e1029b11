"""Conversion of rows to prompts with reference completions, and to token ids."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from app.data.rows import Row
from app.engine.tokens.length_batches import pad_texts
from app.engine.tokens.tokenized_examples import IGNORE_INDEX
from app.engine.trainers.ebft.blocks import BlockPlan
from app.engine.trainers.ebft.likelihood import pad_labels
from app.engine.trainers.ebft.tokenized_prompts import PromptTokenizer

if TYPE_CHECKING:
    from datasets import Dataset
    from torch import Tensor

Turns = Literal["first", "last", "all", "conversation"]  # which answers of a conversation are trained

_TOO_SHORT = "too short for one attempt after its context, or cut off before it"
NO_ANSWER = "no answer to a question"
HAS_TOOLS_OR_IMAGES = "it comes with tools or pictures, which are not used here"
_UNUSED_COLUMNS = ("tools", "images", "image")


@dataclass(frozen=True)
class Document:
    """A tokenized text. answer_start: position of the first trained token, 0 in plain text."""

    token_ids: list[int]
    answer_start: int
    raw_row: Row = field(default_factory=dict)

    @property
    def labels(self) -> list[int]:
        """Token ids from `answer_start` on, IGNORE_INDEX before."""
        return [IGNORE_INDEX] * self.answer_start + self.token_ids[self.answer_start :]


def _prompt_completion_pairs(row: Row, turns: Turns) -> Iterator[Row]:
    """{"prompt", "completion"} rows of one row.

    A row that is such a pair already stays as it is.

    turns: "first", "last" or "all" answers of a conversation, each after the messages before it; "conversation": one
    row with all messages from the first to the last answer as its completion, to be generated turn by turn.
    """
    if "messages" not in row:
        yield {"prompt": row["prompt"], "completion": row["completion"]}
        return
    messages = row["messages"]
    answer_indices = [
        index
        for index, message in enumerate(messages)
        if index and message["role"] == "assistant" and str(message.get("content") or "").strip()
    ]
    if turns == "conversation":
        if answer_indices:
            yield {
                "prompt": messages[: answer_indices[0]],
                "completion": messages[answer_indices[0] : answer_indices[-1] + 1],
            }
        return
    for index in {"first": answer_indices[:1], "last": answer_indices[-1:], "all": answer_indices}[turns]:
        yield {"prompt": messages[:index], "completion": [messages[index]]}


def expand_prompts(rows: Iterable[Row], turns: Turns) -> tuple[list[Row], dict[str, int]]:
    """(prompts with their reference completions, {reason: rows left out})."""
    prompt_rows, unanswered, unused = [], 0, 0
    for row in rows:
        if any(row.get(name) for name in _UNUSED_COLUMNS):
            unused += 1
        elif pairs := list(_prompt_completion_pairs(row, turns)):
            prompt_rows += pairs
        else:
            unanswered += 1
    return prompt_rows, {
        reason: count for reason, count in ((NO_ANSWER, unanswered), (HAS_TOOLS_OR_IMAGES, unused)) if count
    }


def tokenize_documents(
    rows: Dataset | list[Row], tokenizer: PromptTokenizer, turns: Turns, plan: BlockPlan
) -> tuple[list[Document], dict[str, int]]:
    """(texts with at least one trained block, truncated to the plan's max_length; {reason: texts left out})."""
    text_rows, dropped = (rows, {}) if "text" in next(iter(rows), {}) else expand_prompts(rows, turns)
    documents = [_tokenize_document(row, tokenizer, plan.max_length) for row in text_rows]
    usable = [document for document in documents if plan.trained_starts(len(document.token_ids), document.answer_start)]
    return usable, dropped | ({_TOO_SHORT: len(documents) - len(usable)} if len(usable) < len(documents) else {})


def _tokenize_document(row: Row, tokenizer: PromptTokenizer, max_length: int) -> Document:
    if "text" in row:
        return Document(
            (tokenizer.tokenizer(row["text"])["input_ids"] + tokenizer.end_token_ids[:1])[:max_length], 0, row
        )
    tokenized = tokenizer.tokenize(row["prompt"], row["completion"])
    return Document((tokenized.prompt_ids + tokenized.completion_ids)[:max_length], len(tokenized.prompt_ids), row)


def completion_limit(reference_lengths: list[int], length_factor: float, max_length: int) -> int:
    """Most tokens of an attempt: `length_factor` × the longest reference, at most `max_length`.

    A factor of 0 sets no such limit.
    """
    if not length_factor:
        return max_length
    return min(max_length, max(1, math.ceil(length_factor * max(reference_lengths))))


def to_dataset(documents: list[Document]) -> Dataset:
    """The strided trainer's dataset: input_ids, labels, begin (the answer's start), row (the document's index)."""
    from datasets import Dataset

    return Dataset.from_list(
        [
            {
                "input_ids": document.token_ids,
                "labels": document.labels,
                "begin": document.answer_start,
                "row": index,
            }
            for index, document in enumerate(documents)
        ]
    )


def collate(rows: list[Row]) -> dict[str, Tensor]:
    """A batch of rows of the strided trainer's dataset, padded on the right."""
    import torch

    input_ids, attention_mask = pad_texts([row["input_ids"] for row in rows], "cpu")
    labels = pad_labels([row["labels"] for row in rows], input_ids)
    answer_starts = torch.tensor([row["begin"] for row in rows])
    return {"input_ids": input_ids, "attention_mask": attention_mask, "labels": labels, "begin": answer_starts}
