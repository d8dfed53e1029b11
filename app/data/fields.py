"""Access to the fields of a row by dotted path, and text templates over its columns.

Both come from a person's setup, so neither can run code or read attributes: paths only index dicts and lists, and
templates only insert columns.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

Row = dict[str, Any]  # one example of a dataset: {column: cell}
# What a cell holds where it was read from text: JSON, and bytes in tables. Its sequences are lists, its mappings dicts.
Cell: TypeAlias = "str | bytes | int | float | bool | Sequence[Cell] | Mapping[str, Cell] | None"
MISSING = object()  # no field at a path, as opposed to None
_MAX_PATH_STEPS = 20
_TEMPLATE_FIELD = re.compile(r"\{\{|\}\}|\{([^{}]*)\}|[{}]")


def get_field(row: Row, path: str) -> Any:
    """The field at a dotted path such as `a.b.0.c`, or MISSING.

    A column whose own name is the whole path comes first.
    """
    if path in row:
        return row[path]
    field: Cell = row
    for step in path.split(".", _MAX_PATH_STEPS):
        if isinstance(field, dict) and step in field:
            field = field[step]
        elif isinstance(field, list) and step.isascii() and step.isdigit() and len(step) < 9 and int(step) < len(field):
            field = field[int(step)]
        else:
            return MISSING
    return field


def template_columns(template: str) -> list[str]:
    """The columns that a template names, each once.

    Raises ValueError with the reason where the template is malformed.
    """
    column_names = []
    for match in _TEMPLATE_FIELD.finditer(template):
        if match[0] in ("{", "}"):
            raise ValueError(
                f"a brace at place {match.start() + 1} has no partner: write {match[0] * 2} for the sign itself"
            )
        if match[1] is not None:
            if not match[1].strip():
                raise ValueError("it has {} without the name of a column")
            column_names.append(match[1].strip())
    return list(dict.fromkeys(column_names))


def render_template(template: str, row: Row) -> str:
    """The template with each {column} replaced by the row's field; a missing or null field becomes empty text."""

    def replace_field(match: re.Match[str]) -> str:
        return match[0][0] if match[1] is None else as_text(get_field(row, match[1].strip()))

    return _TEMPLATE_FIELD.sub(replace_field, template)


def as_text(field: Cell) -> str:
    """A field as text: empty for a missing one or null, JSON for what is neither text nor null."""
    if field is MISSING or field is None:
        return ""
    return field if isinstance(field, str) else json.dumps(field, ensure_ascii=False, default=str)
