"""Chats that are text already, with the marks of a chat format: turned back into turns."""

from __future__ import annotations

from app.data.conversations.chat_text import parse_chat_text
from app.data.fields import Row
from app.data.layouts.chat_text_segments import NAMES as NAMES
from app.data.layouts.chat_text_segments import NOT_A_CHAT

TITLE = "Chats written as text, turned back into turns"
KIND = "messages"
NEEDS = ("text",)
MAY = ("system", "tools")
TELLING = "the marks of a chat format"


def fits(row: Row) -> bool:
    chat = parse_chat_text(row["text"])
    return chat is not None and any(message["role"] == "assistant" for message in chat.messages())


def row(mapped_row: Row) -> Row | str:
    chat = parse_chat_text(mapped_row.get("text"))
    if chat is None:
        return NOT_A_CHAT
    return {**{name: cell for name, cell in mapped_row.items() if name != "text"}, "messages": chat.messages()}
