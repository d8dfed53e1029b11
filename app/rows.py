"""Rows: mapped, weighed, and turned into the layouts that methods understand. No heavy imports."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Any

from app import rooms
from app.files import Row
from app.kinds import KINDS
from app.problems import Problem, shorten

# The columns that make a layout, most telling first: a row may fit several, and the first counts.
LAYOUTS = {
    "messages": ("messages",),
    "conversations": ("conversations",),
    "stepwise": ("prompt", "completions", "labels"),
    "thumbs": ("prompt", "completion", "label"),
    "ranked": ("chosen", "rejected", "reference"),
    "preference": ("chosen", "rejected"),
    "prompt_completion": ("prompt", "completion"),
    "text": ("text",),
    "hinted": ("prompt", "privileged_context"),
    "prompt": ("prompt",),
}
IN_WORDS = {
    "messages": "a column `messages`",
    "stepwise": "`prompt`, `completions` and `labels`",
    "thumbs": "`prompt`, `completion` and `label`",
    "ranked": "`chosen`, `rejected` and `reference`",
    "preference": "`chosen` and `rejected`",
    "prompt_completion": "`prompt` and `completion`",
    "text": "a column `text`",
    "hinted": "`prompt` and `privileged_context`",
    "prompt": "a column `prompt`",
}
MOST_NAMED = 20  # columns in a sentence


def mapped(rows: Iterable[Row], mapping: dict[str, str]) -> Iterator[Row]:
    """Rows with columns renamed: {ours: theirs}. Raises Problem when a named column isn't there."""
    for number, row in enumerate(rows):
        missing = next((theirs for theirs in mapping.values() if theirs not in row), None)
        if missing is not None and number == 0:  # later rows may leave out what they lack, as they may hold null
            raise Problem(
                f"There is no column “{missing}”.", advice=rooms.nearest(missing, list(row)), reason="wrong_column"
            )
        kept = {key: value for key, value in row.items() if key not in mapping.values()}
        yield kept | {ours: row.get(theirs) for ours, theirs in mapping.items()}


def weighted(rows: list[Row], weight: float, seed: int) -> list[Row]:
    """Each row `weight` times: whole numbers repeat, the fraction draws without replacement."""
    whole, fraction = divmod(weight, 1)
    drawn = random.Random(seed).sample(rows, round(fraction * len(rows)))
    return rows * int(whole) + drawn


def layout_of(row: Row, among: Iterable[str] = tuple(LAYOUTS), holes: bool = False) -> str | None:
    """The first layout, of those asked for, whose columns the row has. holes: a column may hold null."""
    fits = (
        name
        for name, columns in LAYOUTS.items()
        if name in among and all(c in row and (holes or row[c] is not None) for c in columns)
    )
    return next(fits, None)


def check_layout(row: Row, allowed: Iterable[str], title: str) -> str:
    """The row's layout when the method takes it. Raises Problem that names the columns found and those needed."""
    among = {*allowed} | ({"conversations"} if "messages" in allowed else set())
    found = layout_of(row, among) or layout_of(row, among, holes=True)
    if found:
        return "messages" if found == "conversations" else found
    needs = ", or ".join(IN_WORDS[name] for name in allowed)
    more = f" and {len(row) - MOST_NAMED} more" if len(row) > MOST_NAMED else ""
    raise Problem(
        f"The examples have the columns {', '.join(f'`{shorten(column, 40)}`' for column in islice(row, MOST_NAMED))}{more}; “{title}” needs {needs}.",
        advice="Map your columns to these names, or choose another method.",
        reason="wrong_column",
    )


class Normaliser:
    """Turns mapped rows into what TRL takes, and counts the rows it leaves out, with the reason.

    chat: plain prompts and completions become chat messages (the model has a chat template).
    """

    def __init__(self, layouts: Iterable[str], title: str, chat: bool):
        self.layouts, self.title, self.chat = tuple(layouts), title, chat
        self.dropped: Counter[str] = Counter()

    def __call__(self, rows: Iterable[Row]) -> Iterator[Row]:
        rows = iter(rows)
        for first in islice(rows, 1):
            layout = check_layout(first, self.layouts, self.title)
            yield from self.kept(layout, [first])
            yield from self.kept(layout, rows)

    def kept(self, layout: str, rows: Iterable[Row]) -> Iterator[Row]:
        kind = KINDS[layout]
        for row in rows:
            made = kind(without_nulls(row), self.chat)
            if isinstance(made, str):
                self.dropped[made] += 1
            else:
                yield made


def without_nulls(value: Any) -> Any:
    """Parquet and Arrow fill missing keys with null, and templates would see them."""
    if isinstance(value, dict):
        return {key: without_nulls(item) for key, item in value.items() if item is not None}
    return [without_nulls(item) for item in value] if isinstance(value, list) else value


def as_question(row: Row) -> tuple[Any, str] | None:
    """What to ask and the answer expected, of a normalised row: the last answer of a conversation, the completion that was
    not disliked, the best of three, or the better of two."""
    if "messages" in row:
        turns = row["messages"]
        last = max((i for i, turn in enumerate(turns) if turn["role"] == "assistant"), default=0)
        return (turns[:last], text_in(turns[last]["content"])) if last else None
    if row.get("label") is False:
        return row["prompt"], ""
    ranked = "chosen" in row and "reference" in row
    for name in ("completion", "reference" if ranked else "chosen"):
        if name in row:
            return row["prompt"], words(row[name])
    return (row["prompt"], str(row.get("answer", ""))) if "prompt" in row else None


def words(answer: Any) -> str:
    """The text of a string or of the last of its turns."""
    return answer if isinstance(answer, str) else text_in(answer[-1]["content"])


def text_in(content: Any) -> str:
    """The words of a turn: its content may be a list of parts, texts and pictures."""
    if isinstance(content, list):
        return "".join(str(part.get("text", "")) for part in content)
    return str(content)
