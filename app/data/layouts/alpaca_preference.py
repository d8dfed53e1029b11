"""Tasks in Alpaca's form with a better and a worse answer: `instruction`, `input`, `chosen` and `rejected`."""

from __future__ import annotations

from app.data.layouts.alpaca import question
from app.data.messages import Row

TITLE = "Tasks with a better and a worse answer"
KIND = "preference"
NEEDS = ("instruction", "chosen", "rejected")
MAY = ("input", "history", "system", "margin")


def row(given: Row) -> Row:
    return {**given, "prompt": question(given)}
