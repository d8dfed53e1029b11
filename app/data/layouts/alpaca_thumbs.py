"""Tasks in Alpaca's form whose answer was liked or disliked."""

from __future__ import annotations

from app.data.fields import Row
from app.data.layouts.alpaca import build_prompt

TITLE = "Tasks with answers, liked or not"
KIND = "thumbs"
NEEDS = ("instruction", "output", "label")
MAY = ("input", "history", "system", "tools", "reasoning")


def row(mapped_row: Row) -> Row:
    """The row with the task and its input as the prompt, and the output as the completion."""
    return {**mapped_row, "prompt": build_prompt(mapped_row), "completion": mapped_row.get("output")}
