"""Columns: the target columns of layouts with their aliases, and the columns of a table by its first rows."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from app.core.problems import shorten
from app.data.fields import MISSING, Row, as_text, get_field
from app.data.messages import is_message_list, parse_json_cell, unwrap_messages
from app.data.row_types import is_integer_list, parse_label
from app.data.split_prompt import is_text_or_messages


@dataclass(frozen=True)
class ColumnSpec:
    """A target column.

    title, plural_title: what one cell, and all cells, hold, in words. aliases: names of such columns in datasets, most
    likely first. expected_type: what a cell must be, in words; is_valid: whether a cell is that.
    """

    title: str
    plural_title: str
    aliases: tuple[str, ...]
    expected_type: str = "text"
    is_valid: Callable[[Any], bool] = lambda cell: isinstance(cell, str)


def _is_text_or_message_cell(cell: Any) -> bool:
    """Whether a cell holds text, a number, or messages, also wrapped or as JSON."""
    cell = unwrap_messages(cell)
    return is_message_list(cell) if isinstance(cell, list) else is_text_or_messages(cell)


def _is_text_list(cell: Any) -> bool:
    """Whether a cell holds a list of texts, also as JSON."""
    cell = parse_json_cell(cell)
    return isinstance(cell, list) and all(isinstance(text, str) for text in cell)


def _is_label_list(cell: Any) -> bool:
    """Whether a cell holds a list of yes/no labels, also as JSON."""
    cell = parse_json_cell(cell)
    return isinstance(cell, list) and all(parse_label(label) is not None for label in cell)


def _is_segment_list(cell: Any) -> bool:
    """Whether a cell holds a list of objects with a `text`, also as JSON."""
    cell = parse_json_cell(cell)
    return isinstance(cell, list) and all(
        isinstance(segment, dict) and isinstance(segment.get("text"), str) for segment in cell
    )


_TEXT_OR_MESSAGES = ("text, or a list of turns", _is_text_or_message_cell)
ANSWER_ALIASES = (
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

COLUMN_SPECS = {
    "messages": ColumnSpec(
        "The conversation",
        "conversations",
        ("messages", "conversations", "conversation", "dialog", "dialogue", "chat", "turns"),
        "a list of turns, each with who speaks and what is said",
        lambda cell: is_message_list(unwrap_messages(cell)),
    ),
    "prompt": ColumnSpec(
        "The question",
        "questions",
        ("prompt", "question", "instruction", "input", "query", "user", "ask", "q", "problem", "message", "text"),
        *_TEXT_OR_MESSAGES,
    ),
    "completion": ColumnSpec("The answer", "answers", ANSWER_ALIASES, *_TEXT_OR_MESSAGES),
    "text": ColumnSpec("The text", "running text", ("text", "content", "body", "document", "story", "article", "page")),
    "chosen": ColumnSpec(
        "The better answer",
        "better answers",
        (
            "chosen",
            "better",
            "preferred",
            "preferred_output",
            "accepted",
            "winner",
            "good",
            "chosen_response",
            "response_chosen",
            "positive",
        ),
        *_TEXT_OR_MESSAGES,
    ),
    "rejected": ColumnSpec(
        "The worse answer",
        "worse answers",
        (
            "rejected",
            "worse",
            "dispreferred",
            "non_preferred_output",
            "refused",
            "loser",
            "bad",
            "rejected_response",
            "response_rejected",
            "negative",
        ),
        *_TEXT_OR_MESSAGES,
    ),
    "reference": ColumnSpec(
        "The best answer", "best answers", ("reference", "best", "ideal", "gold", "ground_truth"), *_TEXT_OR_MESSAGES
    ),
    "label": ColumnSpec(
        "Liked or not",
        "thumbs up or down",
        ("label", "liked", "thumb", "thumbs", "vote", "feedback", "is_good", "kto_tag", "rating"),
        "yes or no",
        lambda cell: parse_label(cell) is not None,
    ),
    "completions": ColumnSpec(
        "The steps", "solutions in steps", ("completions", "steps", "solution"), "a list of texts", _is_text_list
    ),
    "labels": ColumnSpec(
        "Which steps are right",
        "marks for each step",
        ("labels", "step_labels", "marks", "ratings"),
        "a list of yes and no",
        _is_label_list,
    ),
    "privileged_context": ColumnSpec(
        "The hint", "hints", ("privileged_context", "hint", "hints", "explanation", "context")
    ),
    "system": ColumnSpec("What it is told first", "instructions for all", ("system", "system_prompt")),
    "tools": ColumnSpec(
        "What it may call",
        "tools",
        ("tools", "functions"),
        "a list, or JSON",
        lambda cell: isinstance(parse_json_cell(cell), list),
    ),
    "margin": ColumnSpec(
        "How clear it is", "margins", ("margin",), "a number", lambda cell: isinstance(cell, int | float)
    ),
    "instruction": ColumnSpec("The task", "tasks", ("instruction",)),
    "input": ColumnSpec("What the task is about", "inputs of tasks", ("input", "context")),
    "history": ColumnSpec(
        "What was said before",
        "earlier turns",
        ("history",),
        "a list of questions with their answers",
        lambda cell: isinstance(parse_json_cell(cell), list),
    ),
    "output": ColumnSpec("The answer", "answers", ("output", "response", "completion", "answer"), *_TEXT_OR_MESSAGES),
    "input_ids": ColumnSpec(
        "The tokens", "tokens", ("input_ids", "token_ids", "tokens"), "a list of whole numbers", is_integer_list
    ),
    "segments": ColumnSpec(
        "The pieces",
        "pieces of text with marks",
        ("segments", "input_output"),
        "a list of texts, each with a mark",
        _is_segment_list,
    ),
}


# -- columns of a table ------------------------------------------------------------------------------------------------

_NUM_EXAMPLES = 3
_MAX_ABBREVIATED_LENGTH = 1000  # characters
_MAX_COLUMNS = 200  # listed on the page
_MAX_DEPTH = 3  # levels of nested objects that are listed as dotted paths


@dataclass(frozen=True)
class Table:
    """The first rows of a source, unchanged from its file."""

    rows: list[Row]

    @cached_property
    def column_names(self) -> list[str]:
        """The names of all columns, in order of appearance."""
        return list(dict.fromkeys(name for row in self.rows for name in row if isinstance(name, str)))

    @cached_property
    def _columns_by_spelling(self) -> dict[str, str]:
        """{normalized name: name}; of several names with the same spelling, the first."""
        return {normalize_column_name(name): name for name in reversed(self.column_names)}

    def has_values(self, column: str) -> bool:
        """Whether some row has a field there that is not null."""
        return any(get_field(row, column) not in (MISSING, None) for row in self.rows)

    def find_column(self, alias: str) -> str | None:
        """The column, or dotted path, of this name, whatever its case and separators; None where there is none."""
        return self._columns_by_spelling.get(alias) or (alias if "." in alias and self.has_values(alias) else None)

    def _non_null_values(self, column: str) -> list[Any]:
        """The cells of a column or dotted path, without missing ones and nulls."""
        return [cell for row in self.rows if (cell := get_field(row, column)) is not MISSING and cell is not None]

    def describe_columns(self) -> list[dict[str, Any]]:
        """[{"name": column or dotted path, "type": in words, "examples": up to 3 texts, "empty": number of rows
        without a cell}]."""
        paths = [path for name in self.column_names for path in _nested_paths(name, self._non_null_values(name))]
        return [self._describe_column(path) for path in paths[:_MAX_COLUMNS]]

    def _describe_column(self, path: str) -> dict[str, Any]:
        cells = self._non_null_values(path)
        num_empty = len(self.rows) - len(cells)
        return {"name": path, "type": _describe_type(cells), "examples": _example_texts(cells), "empty": num_empty}


def normalize_column_name(name: str) -> str:
    """A column name in lower case with underscores, so that spellings can be compared."""
    return name.strip().lower().replace(" ", "_").replace("-", "_")


def _nested_paths(path: str, cells: list[Any], depth: int = 1) -> Iterator[str]:
    """The path of a column, and the dotted paths of the fields of its objects."""
    yield path
    if depth >= _MAX_DEPTH or not cells or not all(isinstance(cell, dict) for cell in cells) or is_message_list(cells):
        return
    for name in dict.fromkeys(name for cell in cells for name in cell if isinstance(name, str)):
        fields = [cell[name] for cell in cells if cell.get(name) is not None]
        yield from _nested_paths(f"{path}.{name}", fields, depth + 1)


def _example_texts(cells: list[Any]) -> list[str]:
    """The first distinct cells as short texts."""
    texts = dict.fromkeys(shorten(abbreviate(cell), 160) for cell in cells)
    return [text for text in texts if text.strip()][:_NUM_EXAMPLES]


def abbreviate(cell: Any, depth: int = 0) -> str:
    """A cell as text of at most 1,000 characters, without writing out a cell of a hundred megabytes first."""
    if depth > 2 * _MAX_DEPTH and isinstance(cell, list | dict):
        return "…"
    if isinstance(cell, list):
        elements = [abbreviate(element, depth + 1) for element in cell[:3]]
        return f"[{', '.join(elements)}{', …' if len(cell) > 3 else ''}]"[:_MAX_ABBREVIATED_LENGTH]
    if isinstance(cell, dict):
        fields = [f"{str(key)[:40]}: {abbreviate(field, depth + 1)}" for key, field in [*cell.items()][:6]]
        return ("{" + ", ".join(fields) + "}")[:_MAX_ABBREVIATED_LENGTH]
    if isinstance(cell, bytes):
        return "bytes"
    return (cell if isinstance(cell, str) else as_text(cell))[:_MAX_ABBREVIATED_LENGTH]


def _describe_type(cells: list[Any]) -> str:
    """The type of a column, in words: nothing, mixed, or the type of all its cells."""
    type_names = list(dict.fromkeys(_type_name(cell) for cell in cells))
    return "nothing" if not type_names else type_names[0] if len(type_names) == 1 else "mixed"


def _type_name(cell: Any, depth: int = 0) -> str:
    """The type of a cell, in words."""
    if isinstance(cell, bool):
        return "yes or no"
    if isinstance(cell, int | float):
        return "number"
    if isinstance(cell, str):
        return "conversation" if is_message_list(unwrap_messages(cell)) else "text"
    if isinstance(cell, dict):
        return "turn" if is_message_list([cell]) else "group"
    if not isinstance(cell, list):
        return "something else"
    if is_message_list(cell):
        return "conversation"
    element_types = {_type_name(element, depth + 1) for element in cell[:50]} if depth < _MAX_DEPTH else set()
    return f"list of {_plural(element_types.pop())}" if len(element_types) == 1 else "list"


def _plural(singular: str) -> str:
    return singular if singular.startswith("list") or singular == "yes or no" else f"{singular}s"


def join_with_and(phrases: list[str]) -> str:
    """The phrases as “a, b and c”."""
    return " and ".join(filter(None, [", ".join(phrases[:-1]), phrases[-1]]))
