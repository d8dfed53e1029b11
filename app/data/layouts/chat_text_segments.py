"""Chats that are text already, with the marks of a chat format: trained as they are, answers only."""

from __future__ import annotations

from app.data.conversations.chat_text import parse_chat_text
from app.data.fields import Row

TITLE = "Chats written as text, learned as they are"
KIND = "segments"
NEEDS = ("text",)
NAMES = {
    "text": ("text", "content", "conversation", "conversations", "chat", "dialogue", "messages", "body", "document")
}
TELLING = "the marks of a chat format"
NOT_A_CHAT = "it has no turns between the marks of a chat format"


def fits(row: Row) -> bool:
    chat = parse_chat_text(row["text"])
    return chat is not None and any(segment["train"] for segment in chat.segments())


def row(mapped_row: Row) -> Row | str:
    chat = parse_chat_text(mapped_row.get("text"))
    return NOT_A_CHAT if chat is None else {"segments": chat.segments(), "add_special_tokens": True}
