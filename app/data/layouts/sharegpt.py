"""Conversations in turns with `from` and `value`, as ShareGPT writes them."""

from __future__ import annotations

from app.data.conversations.messages import unwrap_messages
from app.data.fields import Row

TITLE = "Conversations in ShareGPT's form"
KIND = "messages"
NEEDS = ("messages",)
MAY = ("system", "tools")
NAMES = {"messages": ("conversations", "conversation", "messages", "dialog", "dialogue", "chat", "turns")}
TELLING = "turns with `from` and `value`"


def fits(row: Row) -> bool:
    messages = unwrap_messages(row["messages"], is_conversation=True)
    return (
        isinstance(messages, list)
        and bool(messages)
        and all(isinstance(message, dict) and "from" in message and "role" not in message for message in messages)
    )
