"""Conversations in turns with `role` and `content`, as OpenAI, the Hub and most tools write them."""

from __future__ import annotations

from app.data.messages import Row, opened

TITLE = "Conversations"
KIND = "messages"
NEEDS = ("messages",)
MAY = ("system", "tools")
TELLING = "turns with `role` and `content`"


def fits(row: Row) -> bool:
    turns = opened(row["messages"])
    return isinstance(turns, list) and bool(turns) and all(isinstance(turn, dict) and "role" in turn for turn in turns)
