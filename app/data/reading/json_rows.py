"""Rows of a JSON array: objects, lists of turns, rows of the Hub's viewer, or the turns of one conversation."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import chain
from typing import TypeAlias

from app.core.json_types import JsonValue
from app.data.conversations.conversation_forms import convert_turn
from app.data.conversations.messages import ROLE_ALIASES
from app.data.fields import Cell, Row
from app.data.reading.json_scanner import has_half_character, is_too_deep
from app.data.reading.text_lines import FileNote, UnreadableRow

DocumentItem: TypeAlias = Row | UnreadableRow | FileNote
Element: TypeAlias = tuple[JsonValue, str, int]  # (value, its source text, position of its first character)

NOT_A_LIST = "it is not a list of objects, nor an object that holds one"
_MAX_TURNS = 5_000  # of a file that is one conversation; a longer array is a table with a column for the speaker
_HUB_ROW_KEYS = {"row_idx", "row", "truncated_cells"}


def rows_or_conversation(elements: Iterator[Element]) -> Iterator[DocumentItem]:
    """The rows of an array; one row where all its elements are turns of one conversation."""
    turns: list[Element] = []
    for element in elements:
        turns.append(element)
        if not is_known_turn(element[0]) or len(turns) > _MAX_TURNS:
            yield from read_rows(chain(turns, elements))
            return
    roles = {ROLE_ALIASES[_speaker(element[0])] for element in turns}
    if {"user", "assistant"} <= roles:
        yield FileNote("The file is one conversation: a list of its turns.")
        yield {"messages": [element[0] for element in turns]}
    else:
        yield from read_rows(iter(turns))


def _speaker(turn: Cell) -> str:
    """The speaker of a turn in lower case; empty for what is no turn."""
    converted = convert_turn(turn) if isinstance(turn, dict) else None
    return str(converted.get("role") or converted.get("from")).strip().lower() if converted else ""


def is_known_turn(element: Cell) -> bool:
    """Whether this is a turn of a speaker whose role is known; a table may have a column `name` as well."""
    has_speaker_key = isinstance(element, dict) and bool({"role", "from", "speaker", "sender", "author"} & {*element})
    return has_speaker_key and _speaker(element) in ROLE_ALIASES


def read_rows(elements: Iterable[Element]) -> Iterator[DocumentItem]:
    """The elements of an array as rows."""
    for number, (value, source_text, position) in enumerate(elements, 1):
        row = _as_row(value, source_text, number, position)
        if number == 1 and isinstance(row, dict) and row is not value:
            is_hub_row = isinstance(value, dict)
            yield FileNote(
                "The rows lie in an answer of the Hub's dataset viewer."
                if is_hub_row
                else "Each element of the array is a list of turns: one conversation."
            )
        yield row


def _as_row(value: JsonValue, source_text: str, number: int, position: int) -> Row | UnreadableRow:
    """The element of an array as a row. number: from 1. position: its first character."""
    location = f"row {number} (character {position})"
    row = turns_as_row(value)
    if not isinstance(row, dict):
        return UnreadableRow(f"{NOT_A_LIST}: {location} is a {type(value).__name__}")
    if "row_idx" in row and isinstance(row.get("row"), dict) and {*row} <= _HUB_ROW_KEYS:
        if row.get("truncated_cells"):
            return UnreadableRow(f"{location} is cut short: the Hub's dataset viewer left out a part of its text")
        row = row["row"]
    return checked_row(row, source_text, location)


def checked_row(row: Row, source_text: str, location: str) -> Row | UnreadableRow:
    """The row, unless something in it cannot be used. location: of the row, in words."""
    if is_too_deep(source_text, row):
        return UnreadableRow(f"{location} is nested too deeply")
    if has_half_character(source_text, row):
        return UnreadableRow(f"{location} holds half of a character")
    return row


def turns_as_row(value: Cell) -> Cell:
    """A list of turns as a row with a column `messages`; anything else as it is."""
    is_turn_list = isinstance(value, list) and bool(value) and all(map(is_known_turn, value))
    return {"messages": value} if is_turn_list else value
