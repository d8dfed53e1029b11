"""Tasks in Alpaca's form: an `instruction`, often an `input` that it is about, and the `output` wanted."""

from __future__ import annotations

from typing import Any

from app.data.messages import Row, Turns, unpacked
from app.data.split_prompt import is_empty

TITLE = "Tasks in Alpaca's form"
KIND = "prompt_completion"
NEEDS = ("instruction", "output")
MAY = ("input", "history", "system")
KNOWN = (("instruction", "response"),)  # as Dolly calls them


def row(given: Row) -> Row:
    """Task and input become one question; earlier questions and answers go before it."""
    return {**given, "prompt": question(given), "completion": given.get("output")}


def question(given: Row) -> Any:
    asked, about = given.get("instruction"), given.get("input")
    said = asked if is_empty(about) else about if is_empty(asked) else f"{asked}\n\n{about}"
    before = earlier(given.get("history"))
    return [*before, {"role": "user", "content": str(said)}] if before and not is_empty(said) else said


def earlier(history: Any) -> Turns:
    """[[question, answer], …] as turns."""
    told = unpacked(history)
    pairs = [one for one in told if isinstance(one, list) and len(one) == 2] if isinstance(told, list) else []
    return [turn for asked, answer in pairs
            for turn in ({"role": "user", "content": str(asked)}, {"role": "assistant", "content": str(answer)})]  # fmt: skip
