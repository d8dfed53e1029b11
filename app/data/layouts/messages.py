"""Conversations in turns, mostly with `role` and `content`, as OpenAI, the Hub and most tools write them."""

from __future__ import annotations

from app.data.conversations.messages import unwrap_messages
from app.data.fields import Row

TITLE = "Conversations"
KIND = "messages"
NEEDS = ("messages",)
MAY = ("system", "tools")
TELLING = "turns, each with who speaks and what is said"


def fits(row: Row) -> bool:
    messages = unwrap_messages(row["messages"], is_conversation=True)
    return (
        isinstance(messages, list)
        and bool(messages)
        and all(isinstance(message, dict) and "role" in message for message in messages)
    )
