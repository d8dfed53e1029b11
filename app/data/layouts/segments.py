"""Pieces of text without any chat format, each marked as learned or not, as Axolotl's `input_output` has them."""

from __future__ import annotations

from app.data.columns import COLUMNS
from app.data.messages import Row

TITLE = "Pieces of text with marks"
KIND = "segments"
NEEDS = ("segments",)
TELLING = "pieces with `text` and a mark"


def fits(row: Row) -> bool:
    return COLUMNS["segments"].holds(row["segments"])
