"""Findings about cells that are empty, or hold only a word for nothing."""

from __future__ import annotations

from collections.abc import Iterable

from app.contracts import Finding, Severity
from app.core import registry
from app.data.columns import join_with_and
from app.data.detect_layout import assign_columns
from app.data.empty_words import doubtful_words, find_empty_word, source_columns
from app.data.fields import MISSING, get_field
from app.data.layout_match import ROW_TYPE_PRIORITY, LayoutMatch
from app.data.row_finding import make_finding
from app.data.table import Table
from app.setup.spec import Source


def empty_word_findings(match: LayoutMatch, table: Table, source: Source, spec_path: str) -> list[Finding]:
    """For each column with such words: which count as empty, with the remedy to keep them; and which stay because they
    may be real, with the remedy to empty them."""
    findings = []
    for target_column, real_words in match.real_words.items():
        template = source.templates.get(target_column)
        for name in source_columns(target_column, match.columns, source.templates):
            if empty_words := _empty_words(table, name, real_words, source):
                is_alone = template is None or template.strip() == f"{{{name}}}"
                is_needed = is_alone and target_column in match.module.NEEDS
                findings.append(_empty_word_finding(name, empty_words, is_needed, spec_path))
            stay = doubtful_words(table, name, real_words) if source.empty_words == "auto" else {}
            if stay:
                reason = "that may be a real word, so it stays. If it means nothing, say so."
                text = f"{_describe_words(name, stay)}{reason}"
                findings.append(_make_finding(text, stay, "Count it as empty", f"{spec_path}.empty_words", "empty"))
    return findings


def _empty_words(table: Table, name: str, real_words: frozenset[str], source: Source) -> dict[str, list[int]]:
    """{word: numbers of the rows} of the cells of a column that count as empty."""
    rows_by_word: dict[str, list[int]] = {}
    for number, row in table.numbered_rows():
        word = find_empty_word(get_field(row, name), real_words, source.empty_words)
        if word:
            rows_by_word.setdefault(word, []).append(number)
    return rows_by_word


def _empty_word_finding(name: str, rows_by_word: dict[str, list[int]], is_needed: bool, spec_path: str) -> Finding:
    """The finding on the words of a column that count as empty. is_needed: without this column a row is left out."""
    is_one = sum(map(len, rows_by_word.values())) == 1
    effect = "it counts as empty" if is_one else "they count as empty"
    if is_needed:
        effect += ", and its row is left out" if is_one else ", and their rows are left out"
    text = f"{_describe_words(name, rows_by_word)}{effect}."
    return _make_finding(text, rows_by_word, "Keep them as text", f"{spec_path}.empty_words", "keep")


def _describe_words(source_column: str, rows_by_word: dict[str, list[int]]) -> str:
    """The beginning of a sentence: how many cells hold which words."""
    count = sum(map(len, rows_by_word.values()))
    words = " or ".join(
        filter(None, [", ".join(f"“{word}”" for word in [*rows_by_word][:-1]), f"“{[*rows_by_word][-1]}”"])
    )
    subject = f"{count} cells" if count > 1 else "One cell"
    return f"{subject} of `{source_column}` {'are' if count > 1 else 'is'} only the word {words}: "


def _make_finding(text: str, rows_by_word: dict[str, list[int]], title: str, path: str, setting: str) -> Finding:
    rows = sorted({number for numbers in rows_by_word.values() for number in numbers})
    return make_finding("empty_words", "careful", text, rows, {"title": title, "changes": {path: setting}})


# -- columns that are empty in all rows --------------------------------------------------------------------------------


def explain_empty_columns(table: Table, source: Source, row_types: Iterable[str] = ROW_TYPE_PRIORITY) -> str:
    """Which columns that a layout of these row types needs are there, and empty in all rows; empty where none is."""
    accepted = set(row_types)
    layouts = [registry.load_module("layouts", name) for name in registry.names("layouts")]
    for layout in sorted(layouts, key=lambda layout: (ROW_TYPE_PRIORITY.index(layout.KIND), -len(layout.NEEDS))):
        columns = assign_columns(layout, table, source)
        if layout.KIND not in accepted or not all(name in columns for name in layout.NEEDS):
            continue
        needed_columns = [source_columns(name, columns, source.templates) for name in layout.NEEDS]
        empty_columns = [names for names in needed_columns if names and _are_empty_columns(table, names, source)]
        if empty_columns and (len(empty_columns) < len(needed_columns) or len(needed_columns) == 1):
            names = [f"`{name}`" for names in empty_columns for name in names]
            return f"{join_with_and(names)} {'is' if len(names) == 1 else 'are'} empty in all rows"
    return ""


def _are_empty_columns(table: Table, names: list[str], source: Source) -> bool:
    """Whether no row has anything in any of these columns."""
    cells = [get_field(row, name) for row in table.rows for name in names]
    return bool(cells) and all(
        cell is MISSING
        or cell in (None, [], {})
        or (isinstance(cell, str) and not cell.strip())
        or find_empty_word(cell, frozenset(), source.empty_words)
        for cell in cells
    )


def empty_column_findings(
    match: LayoutMatch | None, table: Table, source: Source, row_types: Iterable[str]
) -> list[Finding]:
    """The finding that a needed column is empty in all rows."""
    explanation = explain_empty_columns(table, source, row_types)
    if not explanation:
        return []
    severity: Severity = "careful" if match and match.usable_share else "wrong"
    text = f"{explanation}: nothing can be learned from it."
    return [make_finding("empty_column", severity, text)]
