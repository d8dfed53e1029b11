"""Conversations as lists of texts, in which the user and the assistant speak in turn, as LIMA and UltraChat write them."""

from __future__ import annotations

from app.data.conversations.conversation_forms import texts_in_turn
from app.data.conversations.messages import parse_json_cell
from app.data.fields import Row

TITLE = "Conversations as lists of texts"
KIND = "messages"
NEEDS = ("messages",)
MAY = ("system",)
NOTE = "The turns are lists of text in turn: the first is the user's."
TELLING = "texts in turn, the first by the user"
# Beside a question or an answer, a list of texts holds tags or sources.
_PAIR_COLUMNS = ("question", "prompt", "instruction", "query", "answer", "response", "completion", "output", "text")


def fits(row: Row) -> bool:
    is_pair = any(isinstance(row.get(column), str) for column in _PAIR_COLUMNS)
    return not is_pair and bool(texts_in_turn(parse_json_cell(row["messages"])))


def row(mapped_row: Row) -> Row:
    turns = texts_in_turn(parse_json_cell(mapped_row.get("messages")))
    return {**mapped_row, "messages": turns} if turns else mapped_row
