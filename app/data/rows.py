"""Rows: weighed, and turned into the kinds that methods take, as a source says or as they are recognised. No heavy imports."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterable, Iterator
from itertools import chain, islice
from typing import Any

from app.core import registry
from app.core.problems import Problem, shorten
from app.data.apply_layout import shaped, unmarked
from app.data.columns import COLUMNS, Table
from app.data.detect_layout import LOOKED_AT, NOWHERE, Found, assigned, chosen
from app.data.fields import Row
from app.setup.spec import Source

# The columns that make a kind of row, most telling first: a row may fit several, and the first counts.
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
    "tokens": ("input_ids",),
    "segments": ("segments",),
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
    "tokens": "a column `input_ids`",
    "segments": "a column `segments`",
}
MOST_NAMED = 20  # columns in a sentence


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


class Normaliser:
    """Turns raw rows into what TRL takes, and counts the rows it leaves out, with the reason.

    layouts: the kinds of rows that a method takes. chat: plain prompts and completions become chat messages (the model has a
    chat template).
    """

    def __init__(self, layouts: Iterable[str], title: str, chat: bool):
        self.layouts, self.title, self.chat = tuple(layouts), title, chat
        self.dropped: Counter[str] = Counter()
        self.left_out: dict[str, list[int]] = {}  # numbers of the first rows left out, in their source, by reason

    def __call__(self, rows: Iterable[Row], source: Source = NOWHERE) -> Iterator[Row]:
        """source: what it says of columns, layout and speakers; the first rows tell the rest."""
        rows = iter(rows)
        first = list(islice(rows, LOOKED_AT))
        if first:
            found = way_of(first, source, self.layouts, self.title)
            for number, row in enumerate(chain(first, rows), (source.start or 0) + 1):
                made = self.one(row, found, source, number)
                if made is not None:
                    yield made

    def one(self, row: Row, found: Found, source: Source, number: int = 0) -> Row | None:
        """The row as methods take it; None, and counted, when it is left out. Marks on turns stay for a method that takes segments."""
        made = shaped(row, found.module, found.columns, source, self.chat)
        if isinstance(made, str):
            self.dropped[made] += 1
            if len(rows := self.left_out.setdefault(made, [])) < MOST_NAMED:
                rows.append(number)
            return None
        return made if "segments" in self.layouts else unmarked(made)


def way_of(first: list[Row], source: Source, kinds: tuple[str, ...], title: str) -> Found:
    """How these rows are read for a method. Raises Problem that names the columns found and those needed, or what to decide."""
    found = chosen(first, source, kinds)
    if isinstance(found, Found):
        return found
    if found:
        read_as = " or ".join(f"{one.module.TITLE.lower()} (`{one.layout}`)" for one in found)
        raise Problem(f"The examples could be read as {read_as}, and nothing in them tells which.",
                      advice="Name a layout, or map your columns.", reason="wrong_column")  # fmt: skip
    if source.layout:
        raise Problem(unreadable(source, first, kinds, title), advice="Choose another layout, or map your columns.", reason="wrong_column")  # fmt: skip
    names = list(dict.fromkeys(name for row in first for name in row))
    needs = ", or ".join(IN_WORDS[name] for name in kinds)
    more = f" and {len(names) - MOST_NAMED} more" if len(names) > MOST_NAMED else ""
    raise Problem(
        f"The examples have the columns {', '.join(f'`{shorten(str(column), 40)}`' for column in names[:MOST_NAMED])}{more}; “{title}” needs {needs}.",
        advice="Map your columns to these names, or choose another method.",
        reason="wrong_column",
    )


def unreadable(source: Source, first: list[Row], kinds: tuple[str, ...], title: str) -> str:
    """Why a layout that a person chose cannot be had."""
    layout = registry.load("layouts", source.layout)
    if layout.KIND not in kinds:
        return f"“{title}” cannot learn from {layout.TITLE.lower()}; it needs {', or '.join(IN_WORDS[name] for name in kinds)}."
    found = assigned(layout, Table(first), source)
    lacking = [COLUMNS[column].all for column in layout.NEEDS if column not in found]
    return f"To be read as {layout.TITLE.lower()}, the examples lack a column of {' and one of '.join(lacking)}."


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
    answer = row.get("answer")
    return (row["prompt"], "" if answer is None else str(answer)) if "prompt" in row else None


def words(answer: Any) -> str:
    """The text of a string or of the last of its turns."""
    return answer if isinstance(answer, str) else text_in(answer[-1]["content"])


def text_in(content: Any) -> str:
    """The words of a turn: its content may be a list of parts, texts and pictures."""
    if isinstance(content, list):
        return "".join(str(part.get("text", "")) for part in content)
    return str(content)
