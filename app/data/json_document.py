"""Rows of a JSON document: an array of objects, an object that holds one, a table by columns, or a single example."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import chain
from typing import TypeAlias

from app.core.json_types import JsonValue
from app.data.conversation_forms import convert_turn, convert_turns
from app.data.fields import Cell, Row
from app.data.json_scanner import JsonScanner, JsonSyntaxError, has_half_character, is_too_deep
from app.data.json_tables import rows_of_fields
from app.data.messages import ROLE_ALIASES
from app.data.text_lines import MAX_ROW_BYTES, FileNote, UnreadableRow

DocumentItem: TypeAlias = Row | UnreadableRow | FileNote
_Element = tuple[JsonValue, str, int]  # (value, its source text, position of its first character)

NOT_A_LIST = "it is not a list of objects, nor an object that holds one"
_MAX_TURNS = 5_000  # of a file that is one conversation; a longer array is a table with a column for the speaker
_HUB_ROW_KEYS = {"row_idx", "row", "truncated_cells"}
_SPLIT_NAMES = frozenset(
    ["train", "training", "test", "testing", "validation", "valid", "val", "dev", "eval", "evaluation", "holdout"]
)
_CONVERSATION_NAMES = frozenset(("messages", "conversation", "conversations", "dialog", "dialogue", "chat", "turns"))
# Lists of objects that belong to one example, and are no rows.
_EXAMPLE_LIST_NAMES = frozenset(
    [
        "tools",
        "functions",
        "steps",
        "segments",
        "prompt",
        "completion",
        "completions",
        "chosen",
        "rejected",
        "history",
        "contents",
        "chat_messages",
    ]
)


class MissingSplitError(ValueError):
    """An object that holds lists of rows named as splits, but not the one that is asked for.

    names: of the lists, in order.
    """

    def __init__(self, names: list[str], split: str):
        quoted = " and ".join(f"“{name}”" for name in names)
        super().__init__(f"it holds the lists {quoted}, and none called “{split}”; name the one to read as its split")
        self.names = names


def read_document(scanner: JsonScanner, split: str) -> Iterator[DocumentItem]:
    """The rows of a document. split: the list that is read where lists are named as splits. Raises ValueError."""
    first_character = scanner.peek_character()
    if first_character == "[":
        yield from _rows_or_conversation(scanner.array_values())
    elif first_character == "{":
        yield from _read_object(scanner, split)
    elif first_character:
        raise JsonSyntaxError(NOT_A_LIST)
    if scanner.peek_character():
        raise JsonSyntaxError(f"something follows the end of its list, at character {scanner.position}")


# -- arrays ------------------------------------------------------------------------------------------------------------


def _rows_or_conversation(elements: Iterator[_Element]) -> Iterator[DocumentItem]:
    """The rows of an array; one row where all its elements are turns of one conversation."""
    turns: list[_Element] = []
    for element in elements:
        turns.append(element)
        if not _is_known_turn(element[0]) or len(turns) > _MAX_TURNS:
            yield from _read_rows(chain(turns, elements))
            return
    roles = {ROLE_ALIASES[_speaker(element[0])] for element in turns}
    if {"user", "assistant"} <= roles:
        yield FileNote("The file is one conversation: a list of its turns.")
        yield {"messages": [element[0] for element in turns]}
    else:
        yield from _read_rows(iter(turns))


def _speaker(turn: Cell) -> str:
    """The speaker of a turn in lower case; empty for what is no turn."""
    converted = convert_turn(turn) if isinstance(turn, dict) else None
    return str(converted.get("role") or converted.get("from")).strip().lower() if converted else ""


def _is_known_turn(element: Cell) -> bool:
    """Whether this is a turn of a speaker whose role is known; a table may have a column `name` as well."""
    has_speaker_key = isinstance(element, dict) and bool({"role", "from", "speaker", "sender", "author"} & {*element})
    return has_speaker_key and _speaker(element) in ROLE_ALIASES


def _read_rows(elements: Iterable[_Element]) -> Iterator[DocumentItem]:
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
    is_turn_list = isinstance(value, list) and bool(value) and all(map(_is_known_turn, value))
    return {"messages": value} if is_turn_list else value


# -- objects -----------------------------------------------------------------------------------------------------------


def _read_object(scanner: JsonScanner, split: str) -> Iterator[DocumentItem]:
    """The rows of an object: of its list of rows, or of its fields. Raises ValueError."""
    fields: Row = {}
    source_text, rows_name, skipped_splits = "", "", []
    for name in scanner.member_names():
        brackets = scanner.next_brackets()
        if brackets == "[{" and name not in _EXAMPLE_LIST_NAMES and name != "features":
            elements = scanner.array_values()
            first_element = next(elements)
            if _belongs_to_example(name, first_element[0]):
                fields[name] = _collect_values(chain([first_element], elements))
            elif _is_other_split(name, split):
                skipped_splits.append(name)
                _skip_values(elements)
            elif rows_name and rows_name not in _split_spellings(split):
                raise _two_lists_error(rows_name, name)
            else:
                rows_name = name
                yield from _read_rows(chain([first_element], elements))
        elif brackets == "[[" and name == "data" and _is_text_list(fields.get("columns")):
            rows_name = name
            yield FileNote("The table lists its columns first and then its rows, as pandas' form “split” does.")
            yield from _read_rows(_named_cells(scanner.array_values(), fields["columns"]))
        else:
            fields[name], value_text = scanner.read_value()
            source_text = source_text + value_text if len(source_text) < MAX_ROW_BYTES else source_text
    if rows_name and skipped_splits:
        others = " and ".join(f"“{name}”" for name in skipped_splits)
        yield FileNote(f"The file holds several lists of rows: “{rows_name}” is read, {others} not.")
    if skipped_splits and not rows_name:
        raise MissingSplitError(skipped_splits, split)
    if not rows_name:
        yield from _rows_of_fields(fields, source_text)


def _belongs_to_example(name: str, first_element: JsonValue) -> bool:
    """Whether a list of objects is the conversation of a single example, not a list of rows."""
    if _is_known_turn(first_element):
        return True
    return name.lower() in _CONVERSATION_NAMES and convert_turns([first_element]) is not None


def _collect_values(elements: Iterable[_Element]) -> list[JsonValue]:
    """The values of an array that is one cell. Raises ValueError over the size limit of a row."""
    values, size = [], 0
    for value, source_text, _ in elements:
        values.append(value)
        size += len(source_text)
        if size > MAX_ROW_BYTES:
            raise ValueError(f"a list in it is longer than {MAX_ROW_BYTES // 1_000_000} MB; bring it as JSON lines")
    return values


def _skip_values(elements: Iterator[_Element]) -> None:
    """Reads an array to its end."""
    for _ in elements:
        pass


def _split_spellings(split: str) -> tuple[str, ...]:
    """The names under which a split may stand."""
    return (split, f"{split}ing") if split in ("train", "test") else (split,)


def _is_other_split(name: str, split: str) -> bool:
    """Whether a list is named as a split that is not asked for."""
    return name.lower() in _SPLIT_NAMES and name.lower() not in _split_spellings(split)


def _two_lists_error(first_name: str, second_name: str) -> ValueError:
    return ValueError(f"it holds two lists of rows, “{first_name[:40]}” and “{second_name[:40]}”; keep one in it")


def _is_text_list(value: Cell) -> bool:
    return isinstance(value, list) and bool(value) and all(isinstance(element, str) for element in value)


def _named_cells(elements: Iterable[_Element], names: list[str]) -> Iterator[_Element]:
    """Lists of cells as objects by their columns; a list of another length stays a list, which is no row."""
    for cells, source_text, position in elements:
        if isinstance(cells, list) and len(cells) == len(names):
            yield dict(zip(names, cells, strict=True)), source_text, position
        else:
            yield cells, source_text, position


def _rows_of_fields(fields: Row, source_text: str) -> Iterator[DocumentItem]:
    """The rows of an object without a list of rows. Raises ValueError where it is no table and no example."""
    table = rows_of_fields(fields)
    if table is None:
        raise ValueError(NOT_A_LIST)
    yield FileNote(table.sentence)
    for number, row in enumerate(table.rows, 1):
        yield checked_row(row, source_text, f"row {number}")
