"""Cells that are nothing but a word for nothing, such as “nan” or “NULL”, which programs write where a cell is empty.

Some of these words can be real ones: a label “None”, a person called Nan. Where they may be, they stay and a person is
asked.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Literal

from app.data.columns import COLUMN_SPECS
from app.data.fields import Cell, Row, get_field, render_template, template_columns
from app.data.table import Table, normalize_column_name

EmptyWordsSetting = Literal["auto", "empty", "keep"]
RealWords = Mapping[str, frozenset[str]]  # {target column: words that stay, because they may be real}

# What programs write and people do not.
_PROGRAM_WORDS = frozenset(
    [
        "nan",
        "NaN",
        "NAN",
        "-nan",
        "-NaN",
        "NaT",
        "<NA>",
        "<na>",
        "#N/A",
        "#NA",
        "NULL",
        "#REF!",
        "#VALUE!",
        "#DIV/0!",
        "#NAME?",
        "#NUM!",
        "#NULL!",
        "1.#QNAN",
        "-1.#IND",
        "\\N",
    ]
)
_DOUBTFUL_WORDS = frozenset(["None", "none", "NONE", "null", "Null", "N/A", "n/a", "NA", "undefined"])
_NAMES = frozenset(("Nan",))  # written like this, it is a name or a grandmother
_ALL_WORDS = _PROGRAM_WORDS | _DOUBTFUL_WORDS | _NAMES
_MAX_WORD_LENGTH = max(map(len, _ALL_WORDS))
_TEXT_COLUMNS = frozenset(name for name, spec in COLUMN_SPECS.items() if spec.may_be_text)
_NAN_WORD = "NaN"  # as which the number NaN is written
_REASON_END = "is only the word “"
_LABEL_NAMES = frozenset(["label", "category", "class", "intent", "sentiment", "topic", "type", "tag", "emotion"])
_MAX_LABELS = 20  # different ones, in a column of labels
_MAX_LABEL_LENGTH = 40  # characters
_MIN_REPETITION = 1.5  # cells for each different label


def find_empty_word(cell: Cell, real_words: frozenset[str], setting: EmptyWordsSetting) -> str | None:
    """The word for nothing that is all a cell holds; None for any other cell. real_words: of the column."""
    if setting == "keep":
        return None
    if _is_nan(cell):
        return _NAN_WORD
    if not isinstance(cell, str) or len(cell) > 2 * _MAX_WORD_LENGTH:
        return None
    word = cell.strip()
    return word if word in _ALL_WORDS and (setting == "empty" or word not in real_words) else None


def _is_nan(cell: Cell) -> bool:
    """Whether a cell is the number NaN, as pandas writes where a cell is empty."""
    return isinstance(cell, float) and math.isnan(cell)


def source_columns(target_column: str, columns: Mapping[str, str], templates: Mapping[str, str]) -> list[str]:
    """The source columns of a target column: those that its template names, else the one that is assigned to it."""
    template = templates.get(target_column)
    return [columns[target_column]] if template is None else template_columns(template)


def render_templates(
    row: Row,
    templates: Mapping[str, str],
    columns: Mapping[str, str],
    real_words: RealWords,
    setting: EmptyWordsSetting,
) -> Row:
    """{target column: its text} of all templates, in which cells that are only a word for nothing count as empty. A text
    of which nothing is left is that word itself, for `remove_empty_words`."""
    texts: Row = {}
    for target_column, template in templates.items():
        empty_words: dict[str, str] = {}
        if target_column in columns and target_column in _TEXT_COLUMNS:
            for name in template_columns(template):
                word = find_empty_word(get_field(row, name), real_words.get(target_column, frozenset()), setting)
                empty_words |= {name: word} if word else {}
        text = render_template(template, row | dict.fromkeys(empty_words, ""))
        texts[target_column] = next(iter(empty_words.values())) if empty_words and not text.strip() else text
    return texts


def remove_empty_words(
    row: Row,
    needed_columns: tuple[str, ...],
    columns: Mapping[str, str],
    real_words: RealWords,
    setting: EmptyWordsSetting,
) -> Row | str:
    """The row with target columns without cells that are only a word for nothing, or, where one of these is needed, the
    reason why the row is dropped. Where such words are kept, the number NaN is one as well."""
    if setting == "keep":
        numbers = [name for name in columns if name in _TEXT_COLUMNS and _is_nan(row.get(name))]
        return row | dict.fromkeys(numbers, _NAN_WORD) if numbers else row
    emptied = []
    for target_column in columns:
        if target_column in _TEXT_COLUMNS:
            word = find_empty_word(row.get(target_column), real_words.get(target_column, frozenset()), setting)
            if word and target_column in needed_columns:
                return empty_word_reason(target_column, word)
            if word:
                emptied.append(target_column)
    return {column: cell for column, cell in row.items() if column not in emptied} if emptied else row


def empty_word_reason(target_column: str, word: str) -> str:
    """The reason why a row is dropped."""
    title = COLUMN_SPECS[target_column].title
    return f"{title[0].lower()}{title[1:]} {_REASON_END}{word}”"


def is_empty_word_reason(reason: str) -> bool:
    """Whether a row was dropped for this reason by `remove_empty_words`."""
    return _REASON_END in reason


def find_real_words(table: Table, columns: Mapping[str, str], templates: Mapping[str, str]) -> RealWords:
    """The words that may be real, by target column: in a column of labels, words such as None; everywhere, the name
    Nan. columns: {target column: source column}. templates: {target column: text with columns in it}."""
    has_labels = {
        target_column: any(_holds_labels(table, name) for name in source_columns(target_column, columns, templates))
        for target_column in columns
        if target_column in _TEXT_COLUMNS
    }
    return {
        target_column: _NAMES | (_DOUBTFUL_WORDS if holds_labels else frozenset())
        for target_column, holds_labels in has_labels.items()
    }


def _holds_labels(table: Table, source_column: str) -> bool:
    """Whether the other cells of a column are few different short texts that occur again and again, or its name says
    that they are labels."""
    cells = [get_field(row, source_column) for row in table.rows]
    labels = [
        cell.strip() for cell in cells if isinstance(cell, str) and cell.strip() and cell.strip() not in _ALL_WORDS
    ]
    if any(len(label) > _MAX_LABEL_LENGTH for label in labels):
        return False
    is_named_so = normalize_column_name(source_column.rpartition(".")[2]) in _LABEL_NAMES
    num_labels = len(set(labels))
    return is_named_so or (0 < num_labels <= _MAX_LABELS and len(labels) >= _MIN_REPETITION * num_labels)


def doubtful_words(table: Table, source_column: str, real_words: frozenset[str]) -> dict[str, list[int]]:
    """{word: numbers of the rows} of the cells that are only a word for nothing, and stay as real words."""
    rows_by_word: dict[str, list[int]] = {}
    for number, row in table.numbered_rows():
        cell = get_field(row, source_column)
        if isinstance(cell, str) and cell.strip() in real_words & _ALL_WORDS:
            rows_by_word.setdefault(cell.strip(), []).append(number)
    return rows_by_word
