"""Scores beside a better and a worse answer, which may contradict the names of their columns."""

from __future__ import annotations

from app.contracts import Finding, Remedy, Severity
from app.data.column_words import name_words
from app.data.labels import label_number
from app.data.layout_match import LayoutMatch
from app.data.row_finding import make_finding
from app.data.table import Table
from app.setup.spec import Source

_SCORE_WORDS = frozenset({"score", "rating", "reward"})


def score_findings(match: LayoutMatch, table: Table, source: Source, spec_path: str) -> list[Finding]:
    """The finding that the better answer has the lower score, if it has in some row."""
    score_columns = _find_score_columns(table)
    if not score_columns or not {"chosen", "rejected"} <= match.columns.keys():
        return []
    scores = [[label_number(row.get(name)) for name in score_columns] for row in table.rows]
    contradicting_rows = [
        number
        for number, (chosen, rejected) in zip(table.numbers_of_rows(), scores, strict=True)
        if chosen is not None and rejected is not None and chosen < rejected
    ]
    if not contradicting_rows:
        return []
    is_swapped = len(contradicting_rows) > len(table.rows) / 2
    swap: Remedy = {
        "title": f"Take “{match.columns['rejected']}” for the better answers",
        "changes": {
            f"{spec_path}.layout": match.layout,
            f"{spec_path}.mapping": match.mapping
            | {"chosen": match.columns["rejected"], "rejected": match.columns["chosen"]},
        },
    }
    text = (
        f"In {len(contradicting_rows)} of the first {len(table.rows)} rows the better answer has the lower score: "
        f"`{score_columns[0]}` is below `{score_columns[1]}`."
    )
    severity: Severity = "wrong" if is_swapped else "careful"
    return [make_finding("pair_scores", severity, text, contradicting_rows, swap if is_swapped else None)]


def _find_score_columns(table: Table) -> tuple[str, str] | None:
    """The columns with the scores of the chosen and of the rejected answers; None where there are none."""
    columns_by_words = {frozenset(name_words(name)): name for name in table.column_names}
    for words, chosen_column in columns_by_words.items():
        if "chosen" in words and words & _SCORE_WORDS:
            rejected_column = columns_by_words.get(words - {"chosen"} | {"rejected"})
            if rejected_column:
                return chosen_column, rejected_column
    return None
