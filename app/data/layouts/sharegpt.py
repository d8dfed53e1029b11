"""Conversations in turns with `from` and `value`, as ShareGPT writes them."""

from __future__ import annotations

from app.data.messages import Row, opened

TITLE = "Conversations in ShareGPT's form"
KIND = "messages"
NEEDS = ("messages",)
MAY = ("system", "tools")
NAMES = {"messages": ("conversations", "conversation", "messages", "dialog", "dialogue", "chat", "turns")}
TELLING = "turns with `from` and `value`"


def fits(row: Row) -> bool:
    turns = opened(row["messages"])
    return isinstance(turns, list) and bool(turns) and all(
        isinstance(turn, dict) and "from" in turn and "role" not in turn for turn in turns
    )  # fmt: skip
