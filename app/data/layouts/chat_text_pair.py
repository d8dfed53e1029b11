"""Questions and answers that already have the marks of a chat format in them: trained as they are, answers only."""

from __future__ import annotations

from app.data.conversations.chat_text import ChatText, parse_chat_text
from app.data.fields import Row
from app.data.layouts.chat_text_segments import NOT_A_CHAT

TITLE = "Questions and answers with the marks of a chat format"
KIND = "segments"
NEEDS = ("prompt", "completion")
TELLING = "the marks of a chat format"


def fits(row: Row) -> bool:
    return _parse_pair(row) is not None


def row(mapped_row: Row) -> Row | str:
    chat = _parse_pair(mapped_row)
    if chat is None:
        return NOT_A_CHAT
    return {"segments": chat.segments(trained_from=len(mapped_row["prompt"])), "add_special_tokens": True}


def _parse_pair(mapped_row: Row) -> ChatText | None:
    """The chat that question and answer are together, where the marks stand in the question."""
    prompt, completion = mapped_row.get("prompt"), mapped_row.get("completion")
    if not isinstance(prompt, str) or not isinstance(completion, str) or not completion.strip():
        return None
    if parse_chat_text(f"{prompt} ") is None:
        return None
    chat = parse_chat_text(prompt + completion)
    return chat if chat and chat.turns[-1].role == "assistant" else None
