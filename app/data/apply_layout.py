"""Shaping: one raw row, read by a layout with a source's mapping, templates and roles, becomes a row of its kind."""

from __future__ import annotations

from typing import Any

from app.data.fields import MISSING, Row, at, filled
from app.data.messages import PLACES, Unknown, is_turns, opened, pictured, plain, read
from app.data.row_types import KINDS
from app.setup.spec import Source

TOO_DEEP = "nested too deeply"
UNKNOWN = "nobody knows who “{}” is"


def shaped(row: Row, layout: Any, columns: dict[str, str], source: Source, chat: bool = True) -> Row | str:
    """The row as its kind, or why it is left out. columns: {our column: theirs} of this layout."""
    try:
        made = brought(without_nulls(row), layout, columns, source)
        if hasattr(layout, "row"):
            made = without_nulls(made)
        return made if isinstance(made, str) else KINDS[layout.KIND](made, chat)
    except RecursionError:  # a border: a person's row
        return TOO_DEEP


def brought(row: Row, layout: Any, columns: dict[str, str], source: Source) -> Row | str:
    """The row in our columns, its speakers called as ours."""
    given = renamed(row, {**source.mapping, **columns}, source.templates)
    for name in PLACES:
        if name in columns and name in given:
            try:
                given[name] = spoken(given[name], source.roles)
            except Unknown as unknown:
                return UNKNOWN.format(str(unknown)[:60])
            if "image" in given or "images" in given:
                given[name] = pictured(given[name]) if is_turns(given[name]) else given[name]
    return layout.row(given) if hasattr(layout, "row") else given


def renamed(row: Row, columns: dict[str, str], templates: dict[str, str]) -> Row:
    """{ours: what stands there}; columns that became ours are gone, all others stay."""
    moved = {ours: theirs for ours, theirs in columns.items() if ours != theirs}
    kept = {name: value for name, value in row.items() if name not in moved and name not in moved.values()}
    given = {ours: value for ours, theirs in moved.items() if (value := at(row, theirs)) is not MISSING}
    return kept | given | {ours: filled(template, row) for ours, template in templates.items()}


def spoken(value: Any, roles: dict[str, str]) -> Any:
    turns = opened(value)
    if not isinstance(turns, list) or not all(isinstance(turn, dict) for turn in turns):
        return value
    return read(turns, roles)


def unmarked(row: Row) -> Row:
    """For a method that reads no marks on turns."""
    return row | {name: [plain(turn) for turn in row[name]] for name in PLACES if is_turns(row.get(name))}


def without_nulls(value: Any) -> Any:
    """Parquet and Arrow fill missing keys with null, and templates would see them."""
    if isinstance(value, dict):
        return {key: without_nulls(item) for key, item in value.items() if item is not None}
    return [without_nulls(item) for item in value] if isinstance(value, list) else value
