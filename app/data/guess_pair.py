"""Guess which of the columns of a table is asked and which is answered; a person has to confirm it."""

from __future__ import annotations

from app.data.column_words import ANSWER_WORDS, QUESTION_WORDS, TURN_KEYS, describes_row, is_text_column, names_role
from app.data.empty_words import find_real_words
from app.data.layout_match import POSSIBLE, LayoutMatch
from app.data.table import Table, normalize_column_name


def guess_pair(table: Table, row_types: tuple[str, ...]) -> list[LayoutMatch]:
    """A guess which of the columns of text is asked and which is answered, by their names, question marks and
    lengths."""
    texts_by_column = {
        name: [cell for cell in table.values_of(name) if isinstance(cell, str)]
        for name in table.column_names
        if _may_be_asked_or_answered(name, table)
    }
    if len(texts_by_column) < 2 or "prompt_completion" not in row_types:
        return []
    names = [*texts_by_column]
    answer = next((name for name in names if names_role(name, ANSWER_WORDS)), None)
    question = next((name for name in names if name != answer and names_role(name, QUESTION_WORDS)), None)
    others = [name for name in names if name not in (answer, question)]
    if question is None and len(names) > 2:
        others.sort(key=lambda name: -sum("?" in text for text in texts_by_column[name]))
    question = question or others.pop(0)
    others.sort(key=lambda name: -sum(map(len, texts_by_column[name])) if len(names) > 2 else 0)
    answer = answer or others[0]
    pair = {"prompt": question, "completion": answer}
    real_words = find_real_words(table, pair, {})
    return [LayoutMatch("pair", pair, POSSIBLE, 1.0, names_match=False, real_words=real_words)]


def _may_be_asked_or_answered(name: str, table: Table) -> bool:
    """Whether a column holds text for a model, and is no id, date, person, or field of a turn."""
    if "." in name or normalize_column_name(name) in TURN_KEYS or describes_row(name):
        return False
    return is_text_column(table.values_of(name))
