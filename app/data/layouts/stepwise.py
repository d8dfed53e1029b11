"""Solutions in steps, each step marked right or wrong."""

from __future__ import annotations

from app.data.conversations.messages import parse_json_cell
from app.data.fields import Row

TITLE = "Solutions in steps"
KIND = "stepwise"
NEEDS = ("prompt", "completions", "labels")


def row(mapped_row: Row) -> Row:
    """The row with both lists parsed: in a CSV table, they are JSON text."""
    return {
        **mapped_row,
        "completions": parse_json_cell(mapped_row.get("completions")),
        "labels": parse_json_cell(mapped_row.get("labels")),
    }
