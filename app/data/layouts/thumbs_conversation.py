"""Conversations whose last answer was liked or disliked."""

from __future__ import annotations

from app.data.columns import COLUMNS
from app.data.messages import Row, is_turns, opened

TITLE = "Conversations, liked or not"
KIND = "thumbs"
NEEDS = ("messages", "label")
MAY = ("system",)
TELLING = "turns, and yes or no beside them"


def fits(row: Row) -> bool:
    return all(COLUMNS[name].holds(row.get(name)) for name in NEEDS)


def row(given: Row) -> Row | str:
    turns = opened(given.get("messages"))
    if not is_turns(turns) or len(turns) < 2 or turns[-1].get("role") != "assistant":
        return "the conversation does not end with an answer"
    return {**given, "prompt": turns[:-1], "completion": turns[-1:]}
