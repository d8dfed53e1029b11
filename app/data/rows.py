"""Normalization of raw rows to the row types of a method, as a source says or as detected. No heavy imports."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from itertools import chain, islice

from app.contracts import Finding
from app.core import registry
from app.core.problems import Problem, shorten
from app.data.apply_layout import apply_layout, drop_train_flags
from app.data.columns import COLUMN_SPECS
from app.data.conversations.messages import MESSAGE_COLUMNS, Messages, content_text, is_message_list, last_message_text
from app.data.conversations.train_flags import has_train_flags
from app.data.detect_layout import DEFAULT_SOURCE, NUM_INSPECTED_ROWS, assign_columns, select_layout
from app.data.fields import Row
from app.data.findings.empty_cell_findings import explain_empty_columns
from app.data.findings.label_findings import LabelGuard, undecided_problem
from app.data.layout_match import LayoutMatch
from app.data.refused_rows import RefusedRows
from app.data.row_finding import make_finding
from app.data.table import Table
from app.data.unusable_cells import RefusalReason
from app.setup.spec import Source

# {row type: target columns that define it}, the most specific first: a row may have several, and the first one counts.
REQUIRED_COLUMNS = {
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
# The same in words, for messages.
REQUIRED_COLUMNS_TEXT = {
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
_MAX_LISTED = 20  # columns in a message, and row numbers for each reason


def repeat_by_weight(rows: list[Row], weight: float, seed: int) -> list[Row]:
    """Each row `weight` times. The whole part repeats all rows, the fraction samples rows without replacement."""
    num_repeats, fraction = divmod(weight, 1)
    sampled_rows = random.Random(seed).sample(rows, round(fraction * len(rows)))
    return rows * int(num_repeats) + sampled_rows


def row_type_of(row: Row, row_types: Iterable[str] = tuple(REQUIRED_COLUMNS), allow_null: bool = False) -> str | None:
    """The first of these row types whose columns the row has; None where it has none. allow_null: columns may hold
    null."""
    matching_types = (
        row_type
        for row_type, columns in REQUIRED_COLUMNS.items()
        if row_type in row_types
        and all(column in row and (allow_null or row[column] is not None) for column in columns)
    )
    return next(matching_types, None)


@contextmanager
def problems_of_set(name: str) -> Iterator[None]:
    """Has a Problem with the rows of an evaluation set say which set it is."""
    try:
        yield
    except Problem as problem:
        text = f"The evaluation set “{name}” cannot be used. {problem.text}"
        raise Problem(text, advice=problem.advice, reason=problem.reason) from problem


def require_type_of(trained_row: Row, evaluated_row: Row) -> None:
    """Raises Problem where a row to evaluate is of another type than those that are trained on, as methods that read several
    types prepare all rows as the trained ones."""
    trained_type, evaluated_type = (
        row_type_of(trained_row, allow_null=True),
        row_type_of(evaluated_row, allow_null=True),
    )
    if trained_type and evaluated_type and trained_type != evaluated_type:
        raise Problem(
            f"It holds {REQUIRED_COLUMNS_TEXT[evaluated_type]}, and the examples to learn from hold {REQUIRED_COLUMNS_TEXT[trained_type]}.",
            advice="Map its columns to the same names.",
            reason="wrong_column",
        )


class RowNormalizer:
    """Converts raw rows to what TRL expects, and counts the rows that it drops, by reason.

    row_types: those that a method trains on. title: of the method, for messages. is_chat: the model has a chat
    template, so text prompts and completions become messages. refused_rows: what happens to rows that may be left out
    only where the person allows it. dropped_row_numbers: {reason: numbers of the first such rows in their source}.
    unread_flag_rows: (source, as JSON, and number) of rows with train flags, which a method does not read.
    """

    def __init__(self, row_types: Iterable[str], title: str, is_chat: bool, refused_rows: RefusedRows | None = None):
        self.row_types, self.title, self.is_chat = tuple(row_types), title, is_chat
        self.refused_rows = refused_rows or RefusedRows()
        self.drop_counts: Counter[str] = Counter()
        self.dropped_row_numbers: dict[str, list[int]] = {}
        self.unread_flag_rows: dict[tuple[str, int], None] = {}

    def __call__(self, rows: Iterable[Row], source: Source = DEFAULT_SOURCE) -> Iterator[Row]:
        """The normalized rows. The layout and columns that the source does not name are detected from the first rows.

        Raises Problem where no layout, or more than one, matches, and where nobody said what a number as verdict means.
        """
        yield from self.normalize_numbered(enumerate(rows, (source.start or 0) + 1), source)

    def normalize_numbered(self, rows: Iterable[tuple[int, Row]], source: Source) -> Iterator[Row]:
        """The same for rows with their numbers in the source, some of which may be missing."""
        rows = iter(rows)
        first_rows = list(islice(rows, NUM_INSPECTED_ROWS))
        if first_rows:
            match = require_layout([row for _, row in first_rows], source, self.row_types, self.title)
            label_guard = LabelGuard(match, source)
            for number, row in chain(first_rows, rows):
                label_guard.check(row, number)
                normalized_row = self._normalize_row(row, match, source, number)
                if normalized_row is not None:
                    yield normalized_row

    def findings(self) -> list[Finding]:
        """Findings on rows that nobody allowed to leave out, and on train flags that the method does not read."""
        findings = self.refused_rows.findings()
        if count := len(self.unread_flag_rows):
            text = f"{count:,} example{' says' if count == 1 else 's say'} which turns are learned, and “{self.title}” does not read that: all are used alike."
            findings.append(
                make_finding("unread_marks", "careful", text, [number for _, number in self.unread_flag_rows])
            )
        return findings

    def _normalize_row(self, row: Row, match: LayoutMatch, source: Source, number: int = 0) -> Row | None:
        """The normalized row; None, and counted, if it is dropped.

        Train flags stay for methods that train on segments.
        """
        normalized_row = apply_layout(row, match.module, match.columns, source, self.is_chat, match.real_words)
        if not isinstance(normalized_row, str) and (refusal := self.refused_rows.template_refusal(normalized_row)):
            normalized_row = RefusalReason(refusal)
        if isinstance(normalized_row, RefusalReason) and not self.refused_rows.is_allowed(source, normalized_row):
            self.refused_rows.add(source, number, normalized_row)
            return None
        if isinstance(normalized_row, str):
            self.drop_counts[normalized_row] += 1
            if len(row_numbers := self.dropped_row_numbers.setdefault(normalized_row, [])) < _MAX_LISTED:
                row_numbers.append(number)
            return None
        if "segments" in self.row_types:
            return normalized_row
        if any(has_train_flags(normalized_row.get(name)) for name in MESSAGE_COLUMNS):
            self.unread_flag_rows[source.model_dump_json(), number] = None
        return drop_train_flags(normalized_row)


def require_layout(first_rows: list[Row], source: Source, row_types: tuple[str, ...], title: str) -> LayoutMatch:
    """The layout of these rows for a method.

    Raises Problem with the columns that exist and those needed, or with what to decide.
    """
    selected = select_layout(first_rows, source, row_types)
    if isinstance(selected, LayoutMatch):
        if selected.undecided:
            raise undecided_problem(selected)
        return selected
    if selected:
        read_as = " or ".join(f"{match.module.TITLE.lower()} (`{match.layout}`)" for match in selected)
        raise Problem(
            f"The examples could be read as {read_as}, and nothing in them tells which.",
            advice="Name a layout, or map your columns.",
            reason="wrong_column",
        )
    if source.layout:
        raise Problem(
            _explain_unusable_layout(source, first_rows, row_types, title),
            advice="Choose another layout, or map your columns.",
            reason="wrong_column",
        )
    empty_columns = explain_empty_columns(Table(first_rows), source, row_types)
    if empty_columns:
        raise Problem(
            f"{empty_columns}, so “{title}” has nothing to learn from.",
            advice="Fill it in, map another column, or choose another method.",
            reason="wrong_column",
        )
    names = list(dict.fromkeys(name for row in first_rows for name in row))
    needs = ", or ".join(REQUIRED_COLUMNS_TEXT[name] for name in row_types)
    remainder = f" and {len(names) - _MAX_LISTED} more" if len(names) > _MAX_LISTED else ""
    column_list = ", ".join(f"`{shorten(str(column), 40)}`" for column in names[:_MAX_LISTED])
    raise Problem(
        f"The examples have the columns {column_list}{remainder}; “{title}” needs {needs}.",
        advice="Map your columns to these names, or choose another method.",
        reason="wrong_column",
    )


def _explain_unusable_layout(source: Source, first_rows: list[Row], row_types: tuple[str, ...], title: str) -> str:
    """Why the layout that the source names cannot be used."""
    layout = registry.load_module("layouts", source.layout or "")
    if layout.KIND not in row_types:
        needs = ", or ".join(REQUIRED_COLUMNS_TEXT[row_type] for row_type in row_types)
        return f"“{title}” cannot learn from {layout.TITLE.lower()}; it needs {needs}."
    columns = assign_columns(layout, Table(first_rows), source)
    missing_titles = [COLUMN_SPECS[column].plural_title for column in layout.NEEDS if column not in columns]
    return f"To be read as {layout.TITLE.lower()}, the examples lack a column of {' and one of '.join(missing_titles)}."


def prompt_and_answer(row: Row) -> tuple[str | Messages, str] | None:
    """(prompt, expected answer) of a normalized row; None for a row without a question.

    The answer is the last one of a conversation, the completion unless it was disliked (then empty), the reference of a
    ranked row, or the chosen answer.
    """
    if "messages" in row and "prompt" not in row:
        messages = row["messages"]
        last_answer = max((i for i, message in enumerate(messages) if message["role"] == "assistant"), default=0)
        return (messages[:last_answer], content_text(messages[last_answer]["content"])) if last_answer else None
    if row.get("label") is False:
        return row["prompt"], ""
    is_ranked = "chosen" in row and "reference" in row
    for name in ("completion", "reference" if is_ranked else "chosen"):
        if isinstance(row.get(name), str) or is_message_list(row.get(name)):  # a column for rewards may hold anything
            return row["prompt"], last_message_text(row[name])
    answer = row.get("answer")
    return (row["prompt"], "" if answer is None else str(answer)) if "prompt" in row else None
