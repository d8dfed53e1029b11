"""The verdicts in the first rows of a source: what each one says, and findings about those that nobody explained."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import TypedDict

from app.contracts import Finding, Remedy
from app.core.problems import Problem
from app.data.apply_layout import LABEL_COLUMNS, label_choices
from app.data.column_words import NEGATIVE_VERDICT_WORDS, has_word
from app.data.columns import join_with_and
from app.data.detect_layout import verdicts
from app.data.fields import MISSING, Cell, Row
from app.data.labels import (
    MAX_LISTED_NUMBERS,
    choose,
    label_number,
    label_rank,
    label_text,
    nearest_comparison,
    parse_label,
    suggest_choices,
    undecided_numbers,
)
from app.data.layout_match import LayoutMatch
from app.data.row_finding import make_finding
from app.data.table import Table
from app.setup.sources import LabelChoice, Source

_MAX_WORDS = 12  # different words; more are no verdicts
_MAX_FLAG_NUMBERS = 2  # different ones in a column of yes and no
_MAX_TEXT_LENGTH = 60  # characters of a verdict that are shown
_ANSWER_TITLES: dict[LabelChoice, str] = {"good": "good", "bad": "bad", "left_out": "left out"}
_STEP_TITLES: dict[LabelChoice, str] = {"good": "right", "bad": "wrong", "left_out": "not judged"}
_PAIR_TITLES: dict[LabelChoice, str] = {
    "first": "the first is better",
    "second": "the second is better",
    "left_out": "left out",
}


class Verdict(TypedDict):
    """A verdict in the rows. text: as in the file, or a comparison such as `>=0.7` for many numbers. count: how often.
    choice: what it says, None where only a person knows."""

    text: str
    count: int
    choice: LabelChoice | None


def choice_titles(match: LayoutMatch) -> dict[LabelChoice, str]:
    """{what a verdict of this layout may say: in words}; empty for a layout without verdicts."""
    if "better" in match.columns:
        return _PAIR_TITLES
    return _ANSWER_TITLES if "label" in match.columns else _STEP_TITLES if "labels" in match.columns else {}


def describe_verdicts(match: LayoutMatch, table: Table, source: Source) -> list[Verdict]:
    """The verdicts in the rows, the most frequent first; none where they are too many to be decided on one by one."""
    cells = _present_verdicts(match, table.rows)
    choices = label_choices(match.module, match.columns, source)
    numbers = {number for cell in cells if (number := label_number(cell)) is not None}
    if len(numbers) > MAX_LISTED_NUMBERS:
        bands = [key for key in source.labels if key[:1] in "<>"] or [*_suggest(match, cells)]
        counts = Counter(nearest_comparison(number, bands) for number in map(label_number, cells) if number is not None)
        return [{"text": band, "count": counts[band], "choice": source.labels.get(band)} for band in bands]
    is_known = not undecided_numbers(cells, choices, is_binary="better" not in match.columns)
    text_counts = Counter(map(label_text, cells))
    if len(text_counts) > 2 * _MAX_WORDS:
        return []
    return [
        {
            "text": text,
            "count": count,
            "choice": _meaning(text, choices, match, is_known or label_rank(text) is None),
        }
        for text, count in sorted(text_counts.items(), key=_verdict_sort_key)
    ]


def _verdict_sort_key(text_and_count: tuple[str, int]) -> tuple[float, int]:
    """High numbers come first, then frequent words."""
    text, count = text_and_count
    number = label_rank(text)
    return (-number if number is not None else float("inf"), -count)


def _meaning(
    text: str, choices: Mapping[str, LabelChoice], match: LayoutMatch, is_standard: bool
) -> LabelChoice | None:
    """What a verdict says: by a choice, else by the standard words where these count."""
    choice = choose(text, choices)
    return choice or (parse_label(text) if is_standard and "better" not in match.columns else None)


def _present_verdicts(match: LayoutMatch, rows: list[Row]) -> list[Cell]:
    """The verdicts of the rows, without empty ones."""
    cells = verdicts(match.columns, rows)
    return [cell for cell in cells if cell is not MISSING and not isinstance(cell, list | dict) and label_text(cell)]


def _suggest(match: LayoutMatch, cells: list[Cell]) -> dict[str, LabelChoice]:
    """The likely meaning of numbers and stars, by the layout and the name of their column."""
    if "better" not in match.columns:
        return suggest_choices(cells, has_word(_label_column(match), NEGATIVE_VERDICT_WORDS))
    numbers = sorted({number for cell in cells if (number := label_number(cell)) is not None})
    if not numbers or numbers[-1] <= numbers[0]:
        return {}
    if numbers[0] < 0:
        return {"<0": "first", "0": "left_out", ">0": "second"}
    texts = [label_text(number) for number in numbers]
    return {texts[0]: "first", texts[1]: "second"} if len(texts) == 2 else {}


def _label_column(match: LayoutMatch) -> str:
    """The source column with the verdicts; empty where there is none."""
    return next((match.columns[name] for name in LABEL_COLUMNS if name in match.columns), "")


def label_findings(match: LayoutMatch, table: Table, source: Source, spec_path: str) -> list[Finding]:
    """Findings about numbers whose meaning only a person knows, and about words that nobody explained."""
    if not _label_column(match):
        return []
    cells = _present_verdicts(match, table.rows)
    if match.undecided:
        remedy = make_choices_remedy(_suggest(match, cells), choice_titles(match), source, spec_path)
        return [make_finding("verdict", "wrong", explain_undecided(match), table.numbers_of_rows(), remedy)]
    rows_by_text = unknown_label_rows(match, table, source)
    if not rows_by_text:
        return []
    unknown_texts, rows = [*rows_by_text], sorted({number for numbers in rows_by_text.values() for number in numbers})
    names = join_with_and([f"“{text[:_MAX_TEXT_LENGTH]}”" for text in unknown_texts])
    text = f"`{_label_column(match)}` says {names}, and nobody knows what that means: say it below “What the verdicts say”."
    suggestion = _suggest(match, cells)
    if not suggestion and len(unknown_texts) < len({*map(label_text, cells)}):
        suggestion = dict.fromkeys(unknown_texts, "left_out")
    remedy = make_choices_remedy(suggestion, choice_titles(match), source, spec_path)
    return [make_finding("verdict", "careful" if match.usable_share else "wrong", text, rows, remedy)]


def unknown_label_rows(match: LayoutMatch, table: Table, source: Source) -> dict[str, list[int]]:
    """{word that is a verdict: numbers of its rows} of words that nobody explained; empty where they are too many."""
    choices = label_choices(match.module, match.columns, source)
    rows_by_text: dict[str, list[int]] = {}
    for number, row in table.numbered_rows():
        for text in dict.fromkeys(map(label_text, _present_verdicts(match, [row]))):
            if _meaning(text, choices, match, True) is None:
                rows_by_text.setdefault(text, []).append(number)
    return rows_by_text if len(rows_by_text) <= _MAX_WORDS else {}


def explain_undecided(match: LayoutMatch) -> str:
    """The sentence that asks what the numbers of a layout's verdicts mean."""
    numbers = [label_text(number) for number in match.undecided]
    listed = join_with_and(numbers) if len(numbers) < 4 else f"numbers from {numbers[0]} to {numbers[-1]}"
    question = {
        "better": "which answer they prefer",
        "label": "which of them are good",
        "labels": "which of them mark a right step",
    }
    target_column = next(name for name in LABEL_COLUMNS if name in match.columns)
    return f"`{_label_column(match)}` holds {listed}, and nothing says {question[target_column]}: until you say it, no row can be used."


def undecided_problem(match: LayoutMatch) -> Problem:
    """The Problem of a run whose rows have numbers as verdicts that nobody explained."""
    return Problem(
        explain_undecided(match),
        advice="Say it at the examples, under “What the verdicts say”, or as `labels` of the source.",
        reason="wrong_column",
    )


def make_choices_remedy(
    suggestion: dict[str, LabelChoice], titles: Mapping[LabelChoice, str], source: Source, spec_path: str
) -> Remedy | None:
    """The remedy that takes a suggestion, such as “4 and 5 are good, 1 and 2 bad, 3 left out”; None without one."""
    if not suggestion:
        return None
    return {
        "title": describe_choices(suggestion, titles),
        "changes": {f"{spec_path}.labels": source.labels | _single_numbers(suggestion) | suggestion},
    }


def _single_numbers(suggestion: dict[str, LabelChoice]) -> dict[str, LabelChoice]:
    """Small whole numbers one by one, where their sign says which answer is better: a layout may take a bare 1 or 2 for
    the number of an answer."""
    if suggestion.keys() != {"<0", "0", ">0"}:
        return {}
    numbers = [number for number in range(-MAX_LISTED_NUMBERS, MAX_LISTED_NUMBERS + 1) if number]
    return {str(number): suggestion["<0" if number < 0 else ">0"] for number in numbers}


def describe_choices(choices: dict[str, LabelChoice], titles: Mapping[LabelChoice, str]) -> str:
    """Choices in words, such as “4 and 5 are good, 1 and 2 bad, 3 left out”."""
    texts_by_choice: dict[LabelChoice, list[str]] = {}
    for text, choice in reversed(choices.items()):
        texts_by_choice.setdefault(choice, []).append(_comparison_in_words(text, choices))
    clauses: list[str] = []
    for choice, title in titles.items():
        texts = texts_by_choice.get(choice)
        if texts:
            verb = "" if clauses or "better" in title else "is " if len(texts) == 1 else "are "
            clauses.append(f"{join_with_and(texts)}{':' if 'better' in title else ''} {verb}{title}")
    return ", ".join(clauses)


def _comparison_in_words(text: str, choices: dict[str, LabelChoice]) -> str:
    """`>=0.7` as “0.7 and more”, or as “0.7 to 0.9” below another such bound; other verdicts as they are."""
    bound = text.lstrip("<>=").strip()
    if text.startswith(">="):
        higher_bounds = [key[2:] for key in choices if key.startswith(">=") and float(key[2:]) > float(bound)]
        return f"{bound} to {min(higher_bounds, key=float)}" if higher_bounds else f"{bound} and more"
    for sign, words in (("<=", "{} and less"), (">", "above {}"), ("<", "below {}")):
        if text.startswith(sign):
            return words.format(bound)
    return text[:_MAX_TEXT_LENGTH]


class LabelGuard:
    """Refuses numbers in later rows that show the verdicts to be no yes and no, such as a 5 after fifty times 1."""

    def __init__(self, match: LayoutMatch, source: Source):
        self._columns = match.columns if _label_column(match) else {}
        self._choices = label_choices(match.module, match.columns, source) if self._columns else {}
        self._match = match
        self._labels: dict[str, Cell] = {}  # the different numbers and stars so far
        self._ranks: set[float | None] = set()  # the numbers that these are

    def check(self, row: Row, number: int) -> None:
        """Raises Problem where this row, whose number is given, has such a verdict."""
        if not self._columns:
            return
        new_labels = {label_text(cell): cell for cell in verdicts(self._columns, [row]) if label_rank(cell) is not None}
        if new_labels.keys() <= self._labels.keys():
            return
        was_surely_no_flag = len(self._ranks) > _MAX_FLAG_NUMBERS
        self._labels |= new_labels
        self._ranks.update(map(label_rank, new_labels.values()))
        if was_surely_no_flag:  # all labels before are decided whatever follows: looking again takes quadratic time
            undecided = undecided_numbers(new_labels.values(), self._choices, is_binary=False)
        else:
            is_binary = "better" not in self._columns
            undecided = undecided_numbers(self._labels.values(), self._choices, is_binary)
        if undecided:
            listed = join_with_and(sorted(self._labels if len(self._labels) <= MAX_LISTED_NUMBERS else new_labels))
            raise Problem(
                f"Row {number:,} shows that `{_label_column(self._match)}` is no yes or no: it holds {listed}, and nothing says what {'that means' if len(undecided) == 1 else 'they mean'}.",
                advice="Say it at the examples, under “What the verdicts say”, or as `labels` of the source.",
                reason="wrong_column",
            )
