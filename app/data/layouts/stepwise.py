"""Solutions in steps, each step marked right or wrong."""

from __future__ import annotations

from app.data.messages import Row, unpacked

TITLE = "Solutions in steps"
KIND = "stepwise"
NEEDS = ("prompt", "completions", "labels")


def row(given: Row) -> Row:
    """In a table's cell both lists are text."""
    return {**given, "completions": unpacked(given.get("completions")), "labels": unpacked(given.get("labels"))}
