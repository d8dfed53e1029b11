"""Cells of JSON text, parsed; also those of Python's literal syntax."""

from __future__ import annotations

import ast
import json

from app.data.fields import Cell

_MAX_JSON_CELL_LENGTH = 2_000_000  # characters; longer cells are not parsed as JSON
_MAX_NESTED_TEXTS = 3  # JSON inside JSON


def parse_json_cell(cell: Cell) -> Cell:
    """The list or object in a cell of JSON text, or of Python's literal syntax; any other cell is returned
    unchanged."""
    if not isinstance(cell, str) or len(cell) > _MAX_JSON_CELL_LENGTH or cell.lstrip()[:1] not in ("[", "{"):
        return cell
    for parse_literal in (json.loads, ast.literal_eval):
        try:
            parsed = parse_literal(cell.strip())
        except (ValueError, SyntaxError, MemoryError, RecursionError, TypeError):  # boundary: a person's file
            continue
        return parsed if isinstance(parsed, list | dict) else cell
    return cell


def parse_nested_json_cell(cell: Cell) -> Cell:
    """The same, also where the JSON text is itself written as JSON text once or twice more."""
    for _ in range(_MAX_NESTED_TEXTS):
        if not isinstance(cell, str) or not cell.strip().startswith('"') or len(cell) > _MAX_JSON_CELL_LENGTH:
            break
        try:
            inner = json.loads(cell)
        except (ValueError, RecursionError):  # boundary: a person's file
            break
        if not isinstance(inner, str):
            break
        cell = inner
    return parse_json_cell(cell)


def json_text(cell: Cell) -> str:
    """A cell as text: JSON for what is not text already."""
    return cell if isinstance(cell, str) else json.dumps(cell, ensure_ascii=False, default=str)
