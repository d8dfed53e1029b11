"""Better and worse answers at the end of conversations written as one text, as Anthropic's hh-rlhf has them."""

from __future__ import annotations

from app.data.fields import Row
from app.data.layouts.transcript import NOT_A_TRANSCRIPT, parse_transcript

TITLE = "Better and worse answers, written as one text"
KIND = "preference"
NEEDS = ("chosen", "rejected")
MAY = ("prompt", "system", "margin")
TELLING = "“Human:” and “Assistant:” in turn"


def fits(row: Row) -> bool:
    return all(parse_transcript(row[name]) is not None for name in NEEDS)


def row(mapped_row: Row) -> Row | str:
    """The row with its answers, and its prompt if that is one, as messages."""
    conversations = {name: parse_transcript(mapped_row.get(name)) for name in NEEDS}
    if None in conversations.values():
        return NOT_A_TRANSCRIPT
    prompt = parse_transcript(mapped_row.get("prompt"))
    return {**mapped_row, **conversations, **({"prompt": prompt} if prompt else {})}
