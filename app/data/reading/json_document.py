"""Rows of a JSON document: an array of objects, an object that holds one, a table by columns, or a single example."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from itertools import chain

from app.core.json_types import JsonValue
from app.data.conversations.conversation_forms import convert_turns
from app.data.fields import Row
from app.data.reading.json_rows import (
    NOT_A_LIST,
    DocumentItem,
    Element,
    checked_row,
    is_known_turn,
    read_rows,
    rows_or_conversation,
)
from app.data.reading.json_scanner import JsonScanner, JsonSyntaxError
from app.data.reading.json_tables import INDEX_SENTENCE, SPLIT_SENTENCE, example_names, is_indexed_row, rows_of_fields
from app.data.reading.text_lines import MAX_ROW_BYTES, FileNote

_MAX_FIELDS_LENGTH = 500_000_000  # characters of a table by columns, which is held in memory
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
        yield from rows_or_conversation(scanner.array_values())
    elif first_character == "{":
        yield from _ObjectReader(scanner, split).read()
    elif first_character:
        raise JsonSyntaxError(NOT_A_LIST)
    if scanner.peek_character():
        raise JsonSyntaxError(f"something follows the end of its list, at character {scanner.position}")


# -- objects -----------------------------------------------------------------------------------------------------------


class _ObjectReader:
    """Reads the rows of the object at the current position, member by member.

    fields: the members that are not rows. rows_name: the member whose rows are read; empty before one is. skipped_lists:
    lists of rows of other splits, or beside the split that is read.
    """

    def __init__(self, scanner: JsonScanner, split: str):
        self.scanner, self.split = scanner, split
        self.fields: Row = {}
        self.size = 0  # of the fields, in characters
        self.rows_name = ""
        self.skipped_lists: list[str] = []

    def read(self) -> Iterator[DocumentItem]:
        """The rows of the object: of its list of rows, or of its fields. Raises ValueError."""
        for name in self.scanner.member_names():
            brackets = self.scanner.next_brackets()
            if brackets == "[{" and name != "features":
                yield from self._read_list(name)
            elif brackets == "[[" and name == "data" and not self.rows_name and self._has_column_names():
                self.rows_name = name
                yield FileNote(SPLIT_SENTENCE)
                yield from read_rows(_named_cells(self.scanner.array_values(), self.fields["columns"]))
            else:
                yield from self._read_field(name)
        if self.skipped_lists and not self.rows_name:
            raise MissingSplitError(self.skipped_lists, self.split)
        yield from self._notes() if self.rows_name else _rows_of_fields(self.fields)

    def _read_list(self, name: str) -> Iterator[DocumentItem]:
        """A list of objects: rows, or a part of a single example."""
        elements = self.scanner.array_values()
        first_element = next(elements)
        all_elements = chain([first_element], elements)
        if _belongs_to_example(name, first_element[0]) or len(example_names(self.fields)) > 1:
            self.fields[name] = _collect_values(all_elements)
        elif _is_other_split(name, self.split) or self.rows_name.lower() in _split_spellings(self.split):
            self.skipped_lists.append(name)
            _skip_values(elements)
        elif self.rows_name:
            raise _two_lists_error(self.rows_name, name)
        else:
            self.rows_name = name
            yield from read_rows(all_elements)

    def _read_field(self, name: str) -> Iterator[DocumentItem]:
        """Any other member: a row under its index, which is not kept in memory, or a field."""
        value, source_text = self.scanner.read_value()
        is_first_or_indexed = not self.rows_name or self.rows_name.isdigit()
        if name.isdigit() and is_first_or_indexed and not self.fields and is_indexed_row(value):
            if not self.rows_name:
                yield FileNote(INDEX_SENTENCE)
            self.rows_name = self.rows_name or name
            yield checked_row(value, source_text, f"row {name}")
            return
        self.fields[name] = value
        self.size += len(source_text)
        if self.size > _MAX_FIELDS_LENGTH:
            raise ValueError(f"it is a table by columns of more than {_MAX_FIELDS_LENGTH // 10**6} MB")

    def _has_column_names(self) -> bool:
        """Whether the names of the columns of a table stood before it."""
        names = self.fields.get("columns")
        return isinstance(names, list) and bool(names) and all(isinstance(name, str) for name in names)

    def _notes(self) -> Iterator[FileNote]:
        """Sentences about what is not read beside the rows."""
        if self.skipped_lists:
            quoted_names = " and ".join(f"“{name}”" for name in self.skipped_lists)
            yield FileNote(f"The file holds several lists of rows: “{self.rows_name}” is read, {quoted_names} not.")
        indexed_names = [name for name, field in self.fields.items() if name.isdigit() and is_indexed_row(field)]
        if unread_names := [*example_names(self.fields), *indexed_names]:
            quoted_names = " and ".join(f"“{name}”" for name in unread_names)
            yield FileNote(f"The rows are those of “{self.rows_name}”; {quoted_names} beside them is not read.")


def _belongs_to_example(name: str, first_element: JsonValue) -> bool:
    """Whether a list of objects is the conversation of a single example, not a list of rows."""
    if is_known_turn(first_element) or name in _EXAMPLE_LIST_NAMES:
        return True
    return name.lower() in _CONVERSATION_NAMES and convert_turns([first_element]) is not None


def _collect_values(elements: Iterable[Element]) -> list[JsonValue]:
    """The values of an array that is one cell. Raises ValueError over the size limit of a row."""
    values, size = [], 0
    for value, source_text, _ in elements:
        values.append(value)
        size += len(source_text)
        if size > MAX_ROW_BYTES:
            raise ValueError(f"a list in it is longer than {MAX_ROW_BYTES // 1_000_000} MB; bring it as JSON lines")
    return values


def _skip_values(elements: Iterator[Element]) -> None:
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


def _named_cells(elements: Iterable[Element], names: list[str]) -> Iterator[Element]:
    """Lists of cells as objects by their columns; a list of another length stays a list, which is no row."""
    for cells, source_text, position in elements:
        if isinstance(cells, list) and len(cells) == len(names):
            yield dict(zip(names, cells, strict=True)), source_text, position
        else:
            yield cells, source_text, position


def _rows_of_fields(fields: Row) -> Iterator[DocumentItem]:
    """The rows of an object without a list of rows. Raises ValueError where it is no table and no example."""
    table = rows_of_fields(fields)
    if table is None:
        raise ValueError(NOT_A_LIST)
    yield FileNote(table.sentence)
    for number, row in enumerate(table.rows, 1):
        yield checked_row(row, json.dumps(row), f"row {number}")
