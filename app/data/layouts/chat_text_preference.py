"""Better and worse answers with the marks of a chat format in them: turned back into turns."""

from __future__ import annotations

from app.data.conversations.chat_text import parse_chat_text
from app.data.conversations.messages import Messages
from app.data.fields import Row
from app.data.layouts.chat_text_segments import NOT_A_CHAT

TITLE = "Better and worse answers with the marks of a chat format"
KIND = "preference"
NEEDS = ("chosen", "rejected")
MAY = ("prompt", "system", "margin")
TELLING = "the marks of a chat format"


def fits(row: Row) -> bool:
    return all(_parse_side(row, name) is not None for name in NEEDS)


def row(mapped_row: Row) -> Row | str:
    sides = {name: _parse_side(mapped_row, name) for name in NEEDS}
    if None in sides.values():
        return NOT_A_CHAT
    return {**{name: cell for name, cell in mapped_row.items() if name != "prompt"}, **sides}


def _parse_side(mapped_row: Row, name: str) -> Messages | None:
    """The whole conversation that ends with this answer, which may begin with the prompt or stand behind it."""
    prompt, answer = mapped_row.get("prompt"), mapped_row.get(name)
    if not isinstance(answer, str) or not isinstance(prompt, str | None):
        return None
    chat = parse_chat_text(answer) or parse_chat_text(f"{prompt or ''}{answer}")
    messages = chat.messages() if chat else []
    return messages if len(messages) > 1 and messages[-1]["role"] == "assistant" else None
