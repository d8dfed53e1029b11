"""Tables that a JSON object holds by columns or by rows under their index, as pandas and `datasets` write them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple, TypeGuard

from app.data.columns import COLUMN_SPECS
from app.data.fields import Cell, Row
from app.data.table import normalize_column_name

_KNOWN_NAMES = {alias for column in COLUMN_SPECS.values() for alias in column.aliases} | {"mapping", "conversation_id"}
_TEXT_NAMES = {*COLUMN_SPECS["text"].aliases, *COLUMN_SPECS["prompt"].aliases}


SPLIT_SENTENCE = "The table lists its columns and its rows apart, as pandas' form “split” does."
INDEX_SENTENCE = "The rows stand under their index, as pandas' form “index” writes them."


class FieldTable(NamedTuple):
    """The rows of an object, and a sentence about the form in which it holds them."""

    rows: Iterable[Row]
    sentence: str


def rows_of_fields(fields: Row) -> FieldTable | None:
    """The rows of an object: of a table in a form of pandas, of columns as lists, or the object itself as one example.

    None where it is none of these.
    """
    if _is_split_form(fields):
        rows = [dict(zip(fields["columns"], cells, strict=False)) for cells in fields["data"]]
        return FieldTable(rows, SPLIT_SENTENCE)
    groups = [group for group in fields.values() if isinstance(group, dict) and group]
    if len(groups) == len(fields) and groups:
        table = _table_of_groups(fields, groups)
        if table is not None:
            return table
    if _are_column_lists(fields):
        rows = [dict(zip(fields, cells, strict=True)) for cells in zip(*fields.values(), strict=True)]
        return FieldTable(rows, "The table is written by columns, each a list of its cells.")
    if example_names(fields):
        return FieldTable([fields], "The file is a single example.")
    return None


def is_indexed_row(value: Cell) -> TypeGuard[Row]:
    """Whether the value under a number is a row, and not a column whose cells stand under numbers themselves."""
    return isinstance(value, dict) and not all(name.isdigit() for name in value)


def example_names(fields: Row) -> list[str]:
    """The names of fields that examples usually have, and that are not empty."""
    return [name for name, cell in fields.items() if normalize_column_name(name) in _KNOWN_NAMES and _is_content(cell)]


def _is_content(cell: Cell) -> bool:
    """Whether a cell holds text, a list or an object, and is not empty."""
    return isinstance(cell, str | list | dict) and bool(cell)


def _is_split_form(fields: Row) -> bool:
    """Whether these are the fields of pandas' form “split”."""
    names, rows = fields.get("columns"), fields.get("data")
    return (
        isinstance(names, list)
        and isinstance(rows, list)
        and bool(rows)
        and all(isinstance(name, str) for name in names)
        and all(isinstance(cells, list) and len(cells) == len(names) for cells in rows)
    )


def _table_of_groups(fields: Row, groups: list[Row]) -> FieldTable | None:
    """The rows of an object whose fields are all objects: columns by index, or rows by index; None for neither."""
    inner_names = [*groups[0]]
    if any([*group] != inner_names for group in groups) or {"role", "content"} <= {*inner_names}:
        return None
    is_by_column = all(name.isdigit() for name in inner_names) or (len(groups) > 1 and _knows_any(fields))
    if len(groups) > 1 and _knows_any(inner_names):
        return FieldTable(groups, INDEX_SENTENCE)
    if is_by_column:
        rows = [{column: cells[key] for column, cells in fields.items()} for key in inner_names]
        return FieldTable(rows, "The table is written by columns, as pandas' `to_json()` writes it.")
    return None


def _knows_any(names: Iterable[str]) -> bool:
    """Whether one of the names is that of a column that examples usually have."""
    return any(normalize_column_name(name) in _KNOWN_NAMES for name in names)


def _are_column_lists(fields: Row) -> bool:
    """Whether all fields are lists of equal length, and are columns rather than one example's tokens or steps."""
    lists = [cells for cells in fields.values() if isinstance(cells, list) and cells]
    if len(lists) != len(fields) or len({len(cells) for cells in lists}) != 1:
        return False
    if any(isinstance(cell, list | dict) for cells in lists for cell in cells):
        return False
    has_text = any(isinstance(cell, str) for cells in lists for cell in cells)
    return has_text and (len(lists) > 1 or normalize_column_name(next(iter(fields))) in _TEXT_NAMES)
