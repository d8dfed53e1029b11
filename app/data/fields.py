"""Fields: what a dotted path finds in a row, and text made of a row's columns. Nothing in either can run or reach further."""

from __future__ import annotations

import json
import re
from typing import Any

Row = dict[str, Any]
MISSING = object()
DEEPEST = 20  # steps of a path
FIELD = re.compile(r"\{\{|\}\}|\{([^{}]*)\}|[{}]")


def at(row: Any, path: str) -> Any:
    """What stands at `a.b.0.c`, or MISSING. A column whose own name has dots comes first."""
    if isinstance(row, dict) and path in row:
        return row[path]
    for step in path.split(".", DEEPEST):
        if isinstance(row, dict) and step in row:
            row = row[step]
        elif isinstance(row, list) and step.isascii() and step.isdigit() and len(step) < 9 and int(step) < len(row):
            row = row[int(step)]
        else:
            return MISSING
    return row


def named(template: str) -> list[str]:
    """The columns that a template speaks of. Raises ValueError that says what is wrong with it."""
    found = []
    for match in FIELD.finditer(template):
        if match[0] in ("{", "}"):
            raise ValueError(f"a brace at place {match.start() + 1} has no partner: write {match[0] * 2} for the sign itself")  # fmt: skip
        if match[1] is not None:
            if not match[1].strip():
                raise ValueError("it has {} without the name of a column")
            found.append(match[1].strip())
    return list(dict.fromkeys(found))


def filled(template: str, row: Row) -> str:
    """The text with each {column} replaced by what the row says there: nothing where it says nothing."""

    def part(match: re.Match[str]) -> str:
        return match[0][0] if match[1] is None else as_text(at(row, match[1].strip()))

    return FIELD.sub(part, template)


def as_text(value: Any) -> str:
    if value is MISSING or value is None:
        return ""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)
