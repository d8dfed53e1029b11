"""Questions and answers with a worse answer beside them: the answer is the better one of a pair."""

from __future__ import annotations

from app.data.columns import ANSWER_ALIASES, COLUMN_SPECS
from app.data.conversations.split_prompt import is_empty
from app.data.fields import Row

TITLE = "Answers, each with a worse one"
KIND = "preference"
NEEDS = ("prompt", "completion", "rejected")
MAY = ("system", "margin")
NAMES = {
    "prompt": ("prompt", "question", "query", "user", "ask", "q", "problem"),
    "completion": tuple(name for name in ANSWER_ALIASES if name not in ("label", "category", "class")),
}
TELLING = "an answer, and a worse one"


def fits(row: Row) -> bool:
    """Whether both answers are text or turns, the worse one is no mere mark, and no other column has the better one."""
    if any(row.get(name) is not None for name in COLUMN_SPECS["chosen"].aliases):
        return False
    if isinstance(row["rejected"], int | float) and not isinstance(row["completion"], int | float):
        return False
    return all(COLUMN_SPECS[name].is_valid(row[name]) for name in NEEDS)


def row(mapped_row: Row) -> Row | str:
    """The row with its answer as the chosen one."""
    if is_empty(mapped_row.get("rejected")):
        return "an empty answer"
    return {
        **{name: cell for name, cell in mapped_row.items() if name != "completion"},
        "chosen": mapped_row.get("completion"),
    }
