"""Conversations that end with a question, to be answered by trying."""

from __future__ import annotations

from app.data.conversations.messages import unwrap_messages
from app.data.fields import Row

TITLE = "Conversations that end with a question"
KIND = "prompt"
NEEDS = ("messages",)
MAY = ("system", "tools")
TELLING = "turns, the last of which asks"


def fits(row: Row) -> bool:
    messages = unwrap_messages(row["messages"], is_conversation=True)
    if not isinstance(messages, list) or not messages or not all(isinstance(message, dict) for message in messages):
        return False
    return str(messages[-1].get("role", messages[-1].get("from"))).lower() in ("user", "human", "tool")


def row(mapped_row: Row) -> Row:
    return {
        **{name: value for name, value in mapped_row.items() if name != "messages"},
        "prompt": mapped_row.get("messages"),
    }
