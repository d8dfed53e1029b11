"""Conversations whose last answer was liked or disliked."""

from __future__ import annotations

from app.data.columns import COLUMN_SPECS
from app.data.conversations.messages import is_message_list, unwrap_messages
from app.data.fields import Row

TITLE = "Conversations, liked or not"
KIND = "thumbs"
NEEDS = ("messages", "label")
MAY = ("system", "tools", "reasoning")
TELLING = "turns, and yes or no beside them"


def fits(row: Row) -> bool:
    return all(COLUMN_SPECS[name].is_valid(row.get(name)) for name in NEEDS)


def row(mapped_row: Row) -> Row | str:
    messages = unwrap_messages(mapped_row.get("messages"), is_conversation=True)
    if not is_message_list(messages) or len(messages) < 2 or messages[-1].get("role") != "assistant":
        return "the conversation does not end with an answer"
    return {**mapped_row, "prompt": messages[:-1], "completion": messages[-1:]}
