"""Columns: what ours hold and are called elsewhere, and what a table's own hold, as the first rows show it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from app.core.problems import shorten
from app.data.fields import MISSING, Row, as_text, at
from app.data.messages import is_turns, opened, unpacked
from app.data.row_types import as_label, is_numbers
from app.data.split_prompt import is_text_or_turns


@dataclass(frozen=True)
class Column:
    """One of our columns. title: what one cell holds; all: what they all hold; often: what others call it, likeliest first;
    form: what a cell must be, in words; holds: whether it is."""

    title: str
    all: str
    often: tuple[str, ...]
    form: str = "text"
    holds: Callable[[Any], bool] = lambda value: isinstance(value, str)


def told(value: Any) -> bool:
    """Text or a number, or turns."""
    value = opened(value)
    return is_turns(value) if isinstance(value, list) else is_text_or_turns(value)


def are_texts(value: Any) -> bool:
    value = unpacked(value)
    return isinstance(value, list) and all(isinstance(one, str) for one in value)


def are_marks(value: Any) -> bool:
    value = unpacked(value)
    return isinstance(value, list) and all(as_label(one) is not None for one in value)


def are_pieces(value: Any) -> bool:
    value = unpacked(value)
    return isinstance(value, list) and all(isinstance(one, dict) and isinstance(one.get("text"), str) for one in value)


SPOKEN = ("text, or a list of turns", told)
ANSWERS = (
    "completion",
    "answer",
    "response",
    "output",
    "target",
    "assistant",
    "reply",
    "a",
    "label",
    "category",
    "class",
)

COLUMNS = {
    "messages": Column("The conversation", "conversations", ("messages", "conversations", "conversation", "dialog", "dialogue", "chat", "turns"),
                       "a list of turns, each with who speaks and what is said", lambda value: is_turns(opened(value))),
    "prompt": Column("The question", "questions", ("prompt", "question", "instruction", "input", "query", "user", "ask", "q", "problem", "message", "text"), *SPOKEN),
    "completion": Column("The answer", "answers", ANSWERS, *SPOKEN),
    "text": Column("The text", "running text", ("text", "content", "body", "document", "story", "article", "page")),
    "chosen": Column("The better answer", "better answers", ("chosen", "better", "preferred", "preferred_output", "accepted", "winner", "good", "chosen_response", "response_chosen", "positive"), *SPOKEN),
    "rejected": Column("The worse answer", "worse answers", ("rejected", "worse", "dispreferred", "non_preferred_output", "refused", "loser", "bad", "rejected_response", "response_rejected", "negative"), *SPOKEN),
    "reference": Column("The best answer", "best answers", ("reference", "best", "ideal", "gold", "ground_truth"), *SPOKEN),
    "label": Column("Liked or not", "thumbs up or down", ("label", "liked", "thumb", "thumbs", "vote", "feedback", "is_good", "kto_tag", "rating"),
                    "yes or no", lambda value: as_label(value) is not None),
    "completions": Column("The steps", "solutions in steps", ("completions", "steps", "solution"), "a list of texts", are_texts),
    "labels": Column("Which steps are right", "marks for each step", ("labels", "step_labels", "marks", "ratings"), "a list of yes and no", are_marks),
    "privileged_context": Column("The hint", "hints", ("privileged_context", "hint", "hints", "explanation", "context")),
    "system": Column("What it is told first", "instructions for all", ("system", "system_prompt")),
    "tools": Column("What it may call", "tools", ("tools", "functions"), "a list, or JSON", lambda value: isinstance(unpacked(value), list)),
    "margin": Column("How clear it is", "margins", ("margin",), "a number", lambda value: isinstance(value, int | float)),
    "instruction": Column("The task", "tasks", ("instruction",)),
    "input": Column("What the task is about", "inputs of tasks", ("input", "context")),
    "history": Column("What was said before", "earlier turns", ("history",), "a list of questions with their answers", lambda value: isinstance(unpacked(value), list)),
    "output": Column("The answer", "answers", ("output", "response", "completion", "answer"), *SPOKEN),
    "input_ids": Column("The tokens", "tokens", ("input_ids", "token_ids", "tokens"), "a list of whole numbers", is_numbers),
    "segments": Column("The pieces", "pieces of text with marks", ("segments", "input_output"), "a list of texts, each with a mark", are_pieces),
}  # fmt: skip


# -- a table's own ------------------------------------------------------------------------------------------------

EXAMPLES = 3
MOST = 200  # columns shown
DEEPEST = 3  # steps into a column


@dataclass(frozen=True)
class Table:
    """The first rows of a source, as they stand in the file."""

    rows: list[Row]

    @cached_property
    def names(self) -> list[str]:
        return list(dict.fromkeys(name for row in self.rows for name in row if isinstance(name, str)))

    @cached_property
    def lower(self) -> dict[str, str]:
        """{name as others write it: name}; of several the first."""
        return {spelt(name): name for name in reversed(self.names)}

    def has(self, path: str) -> bool:
        """Whether some row says something there."""
        return any(at(row, path) not in (MISSING, None) for row in self.rows)

    def called(self, name: str) -> str | None:
        """The column or path of this name, however it is spelt."""
        return self.lower.get(name) or (name if "." in name and self.has(name) else None)

    def values(self, path: str) -> list[Any]:
        """What is said there, without holes."""
        return [value for row in self.rows if (value := at(row, path)) is not MISSING and value is not None]

    def columns(self) -> list[dict[str, Any]]:
        """[{"name": column or dotted path, "type": in words, "examples": up to 3, "empty": rows that say nothing there}]."""
        paths = [path for name in self.names for path in inside(name, self.values(name))][:MOST]
        return [{"name": path, "type": kind_of(values), "examples": examples(values), "empty": len(self.rows) - len(values)}
                for path in paths for values in [self.values(path)]]  # fmt: skip


def spelt(name: str) -> str:
    return name.strip().lower().replace(" ", "_").replace("-", "_")


def inside(path: str, values: list[Any], depth: int = 1) -> Iterator[str]:
    """A column, and the dotted paths of what its objects hold."""
    yield path
    if depth >= DEEPEST or not values or not all(isinstance(value, dict) for value in values) or is_turns(values):
        return
    for name in dict.fromkeys(name for value in values for name in value if isinstance(name, str)):
        yield from inside(f"{path}.{name}", [value[name] for value in values if value.get(name) is not None], depth + 1)


def examples(values: list[Any]) -> list[str]:
    """The first different things said, cut short."""
    said = dict.fromkeys(shorten(short(value), 160) for value in values)
    return [one for one in said if one.strip()][:EXAMPLES]


def short(value: Any, depth: int = 0) -> str:
    """No more of a value than is shown: one of a hundred megabytes is not written out first."""
    if depth > 2 * DEEPEST and isinstance(value, list | dict):
        return "…"
    if isinstance(value, list):
        return f"[{', '.join(short(one, depth + 1) for one in value[:3])}{', …' if len(value) > 3 else ''}]"[:1000]
    if isinstance(value, dict):
        return (
            "{" + ", ".join(f"{str(key)[:40]}: {short(one, depth + 1)}" for key, one in [*value.items()][:6]) + "}"
        )[:1000]
    return (
        (value[:1000] if isinstance(value, str) else as_text(value)[:1000]) if not isinstance(value, bytes) else "bytes"
    )


def kind_of(values: list[Any]) -> str:
    """What a column holds, in words."""
    kinds = list(dict.fromkeys(word_for(value) for value in values))
    return "nothing" if not kinds else kinds[0] if len(kinds) == 1 else "mixed"


def word_for(value: Any, depth: int = 0) -> str:
    if isinstance(value, bool):
        return "yes or no"
    if isinstance(value, int | float):
        return "number"
    if isinstance(value, str):
        return "conversation" if is_turns(opened(value)) else "text"
    if isinstance(value, dict):
        return "turn" if is_turns([value]) else "group"
    if not isinstance(value, list):
        return "something else"
    if is_turns(value):
        return "conversation"
    words = {word_for(one, depth + 1) for one in value[:50]} if depth < DEEPEST else set()
    return f"list of {plural(words.pop())}" if len(words) == 1 else "list"


def plural(word: str) -> str:
    return word if word.startswith("list") or word == "yes or no" else f"{word}s"
