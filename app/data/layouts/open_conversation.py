"""Conversations that end with a question, to be answered by trying."""

from __future__ import annotations

from app.data.messages import Row, opened

TITLE = "Conversations that end with a question"
KIND = "prompt"
NEEDS = ("messages",)
MAY = ("system", "tools")
TELLING = "turns, the last of which asks"


def fits(row: Row) -> bool:
    turns = opened(row["messages"])
    if not isinstance(turns, list) or not turns or not all(isinstance(turn, dict) for turn in turns):
        return False
    return str(turns[-1].get("role", turns[-1].get("from"))).lower() in ("user", "human", "tool")


def row(given: Row) -> Row:
    return {**{name: value for name, value in given.items() if name != "messages"}, "prompt": given.get("messages")}
