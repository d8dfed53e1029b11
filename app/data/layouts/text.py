"""Running text in one column."""

from __future__ import annotations

from app.data.columns import ANSWER_ALIASES
from app.data.table import Table

TITLE = "Plain text"
KIND = "text"
NEEDS = ("text",)


def doubtful(table: Table) -> bool:
    """Whether the text may be a prompt instead, because there is a column with a label or an answer."""
    return any(table.find_column(name) for name in ANSWER_ALIASES)
