"""Pieces of text without any chat format, each marked as learned or not, as Axolotl's `input_output` has them."""

from __future__ import annotations

from app.data.columns import COLUMN_SPECS
from app.data.fields import Row

TITLE = "Pieces of text with marks"
KIND = "segments"
NEEDS = ("segments",)
TELLING = "pieces with `text` and a mark"


def fits(row: Row) -> bool:
    return COLUMN_SPECS["segments"].is_valid(row["segments"])
