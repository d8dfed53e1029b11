"""Rows: conversations, pairs and plain texts become questions with true answers, and those become tokens."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from app.data.rows import Row
from app.engine.tokens.tokenized_examples import UNLEARNED
from app.engine.trainers.ebft.blocks import Plan
from app.engine.trainers.ebft.features import padded
from app.engine.trainers.ebft.likelihood import filled
from app.engine.trainers.ebft.tokenized_prompts import Words

TOO_SHORT = "too short for one attempt after its context, or cut off before it"
NO_ANSWER = "no answer to a question"
WITH_TOOLS = "it comes with tools or pictures, which are not used here"
UNUSED = ("tools", "images", "image")


@dataclass(frozen=True)
class Document:
    """A text in tokens. begin: where what should be written begins, 0 in plain text. raw: its row."""

    ids: list[int]
    begin: int
    raw: Row = field(default_factory=dict)

    @property
    def labels(self) -> list[int]:
        return [UNLEARNED] * self.begin + self.ids[self.begin :]


def pairs(row: Row, turns: str) -> Iterator[Row]:
    """{"prompt", "completion"}: the first, the last or all answers of a conversation, each after what came before it; or all that
    follows the first question, to be written turn by turn. A pair as it is."""
    if "messages" not in row:
        yield {"prompt": row["prompt"], "completion": row["completion"]}
        return
    told = row["messages"]
    places = [
        i for i, turn in enumerate(told) if i and turn["role"] == "assistant" and str(turn.get("content") or "").strip()
    ]
    if turns == "conversation":
        if places:
            yield {"prompt": told[: places[0]], "completion": told[places[0] : places[-1] + 1]}
        return
    for place in {"first": places[:1], "last": places[-1:], "all": places}[turns]:
        yield {"prompt": told[:place], "completion": [told[place]]}


def questions(rows: Any, turns: str) -> tuple[list[Row], dict[str, int]]:
    """(every question with its true answer, {reason: rows left out})."""
    found, without, unused = [], 0, 0
    for row in rows:
        if any(row.get(name) for name in UNUSED):
            unused += 1
        elif made := list(pairs(row, turns)):
            found += made
        else:
            without += 1
    return found, {reason: count for reason, count in ((NO_ANSWER, without), (WITH_TOOLS, unused)) if count}


def documents(rows: Any, words: Words, turns: str, plan: Plan) -> tuple[list[Document], dict[str, int]]:
    """(every text in which something can be attempted, in tokens and cut at the plan's longest, {reason: left out})."""
    told, dropped = (rows, {}) if "text" in next(iter(rows), {}) else questions(rows, turns)
    made = [document(row, words, plan.longest) for row in told]
    kept = [one for one in made if plan.starts(len(one.ids), one.begin)]
    return kept, dropped | ({TOO_SHORT: len(made) - len(kept)} if len(kept) < len(made) else {})


def document(row: Row, words: Words, longest: int) -> Document:
    if "text" in row:
        return Document((words.tokenizer(row["text"])["input_ids"] + words.ends[:1])[:longest], 0, row)
    told = words.told(row["prompt"], row["completion"])
    return Document((told.prompt + told.answer)[:longest], len(told.prompt), row)


def longest_answer(truths: list[int], times: float, longest: int) -> int:
    """How long attempts may get, beside true answers of these lengths: so many times the longest of them; times 0 is no such limit."""
    if not times:
        return longest
    return min(longest, max(1, math.ceil(times * max(truths))))


def prepared(documents: list[Document]) -> Any:
    """The table that the strided trainer takes: input_ids, labels, begin, and the row each came from."""
    from datasets import Dataset

    return Dataset.from_list(
        [
            {
                "input_ids": one.ids,
                "labels": one.labels,
                "begin": one.begin,
                "row": number,
            }
            for number, one in enumerate(documents)
        ]
    )


def collated(rows: list[Row]) -> dict[str, Any]:
    """A batch of them, filled up on the right."""
    import torch

    ids, mask = padded([row["input_ids"] for row in rows], "cpu")
    labels = filled([row["labels"] for row in rows], ids)
    begin = torch.tensor([row["begin"] for row in rows])
    return {"input_ids": ids, "attention_mask": mask, "labels": labels, "begin": begin}
