"""Two answers to each question, each with a score: the one with the higher score is the better one, as in WebGPT's comparisons."""

from __future__ import annotations

from app.data.columns import COLUMN_SPECS
from app.data.fields import Row
from app.data.labels import label_number
from app.data.table import Table

TITLE = "Two answers with scores"
KIND = "preference"
NEEDS = ("answer_a", "answer_b", "score_a", "score_b")
MAY = ("prompt", "system")
NAMES = {"prompt": ("question.full_text", "prompt", "question", "instruction", "query", "user", "problem", "history")}
TELLING = "two answers, each with a score, of which the higher is taken to be better"


def fits(row: Row) -> bool:
    return all(COLUMN_SPECS[name].is_valid(row[name]) for name in NEEDS)


def doubtful(_table: Table) -> bool:
    """Always: nothing in the rows says that a higher score is better."""
    return True


def row(mapped_row: Row) -> Row | str:
    """The row with the answer of the higher score as the chosen one."""
    first_score, second_score = (label_number(mapped_row.get(name)) for name in ("score_a", "score_b"))
    if first_score is None or second_score is None:
        return "an answer has no score"
    if first_score == second_score:
        return "both answers have the same score"
    names = ("answer_a", "answer_b") if first_score > second_score else ("answer_b", "answer_a")
    chosen, rejected = (mapped_row.get(name) for name in names)
    other_columns = {name: cell for name, cell in mapped_row.items() if name not in NEEDS}
    return {**other_columns, "chosen": chosen, "rejected": rejected}
