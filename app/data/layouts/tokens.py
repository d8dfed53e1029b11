"""Rows that are tokens already: `input_ids`, and often `labels` that say which of them are learned."""

from __future__ import annotations

from app.data.messages import Row, unpacked
from app.data.row_types import MASKS, is_numbers

TITLE = "Tokens"
KIND = "tokens"
NEEDS = ("input_ids",)
TELLING = "whole numbers"
LISTS = ("input_ids", "labels", *MASKS)


def fits(row: Row) -> bool:
    return is_numbers(unpacked(row["input_ids"]))


def row(given: Row) -> Row:
    """In a table's cell lists are text."""
    return {**given, **{name: unpacked(given[name]) for name in LISTS if name in given}}
