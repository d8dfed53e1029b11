"""Tasks in Alpaca's form with a better and a worse answer: `instruction`, `input`, `chosen` and `rejected`."""

from __future__ import annotations

from app.data.columns import COLUMN_SPECS
from app.data.fields import Row
from app.data.layouts.alpaca import build_prompt

TITLE = "Tasks with a better and a worse answer"
KIND = "preference"
NEEDS = ("instruction", "chosen", "rejected")
MAY = ("input", "history", "system", "margin")
NAMES = {"chosen": (*COLUMN_SPECS["chosen"].aliases, "output", "response")}
KNOWN = (("instruction", "output", "rejected"), ("instruction", "response", "rejected"))


def row(mapped_row: Row) -> Row:
    return {**mapped_row, "prompt": build_prompt(mapped_row)}
