"""Questions with the marks of a chat format in them: turned back into turns, to be answered by trying."""

from __future__ import annotations

from app.data.conversations.chat_text import parse_chat_text
from app.data.fields import Row
from app.data.layouts.chat_text_segments import NOT_A_CHAT

TITLE = "Questions with the marks of a chat format"
KIND = "prompt"
NEEDS = ("prompt",)
MAY = ("system",)
TELLING = "the marks of a chat format"


def fits(row: Row) -> bool:
    chat = parse_chat_text(row["prompt"])
    return chat is not None and chat.messages()[-1]["role"] == "user"


def row(mapped_row: Row) -> Row | str:
    chat = parse_chat_text(mapped_row.get("prompt"))
    return NOT_A_CHAT if chat is None else {**mapped_row, "prompt": chat.messages()}
