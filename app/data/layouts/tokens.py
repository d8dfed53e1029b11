"""Rows that are tokens already: `input_ids`, and often `labels` that say which of them are learned."""

from __future__ import annotations

from app.data.conversations.messages import parse_json_cell
from app.data.fields import Row
from app.data.row_types import LOSS_MASK_COLUMNS, is_integer_list

TITLE = "Tokens"
KIND = "tokens"
NEEDS = ("input_ids",)
TELLING = "whole numbers"
_LIST_COLUMNS = ("input_ids", "labels", *LOSS_MASK_COLUMNS)


def fits(row: Row) -> bool:
    return is_integer_list(parse_json_cell(row["input_ids"]))


def row(mapped_row: Row) -> Row:
    """The row with its lists parsed: in a CSV table, they are JSON text."""
    return {**mapped_row, **{name: parse_json_cell(mapped_row[name]) for name in _LIST_COLUMNS if name in mapped_row}}
