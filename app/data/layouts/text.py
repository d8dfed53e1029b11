"""Running text in one column."""

from __future__ import annotations

from app.data.columns import ANSWERS, Table

TITLE = "Plain text"
KIND = "text"
NEEDS = ("text",)


def doubtful(table: Table) -> bool:
    """Beside a label or an answer it may be what is asked about."""
    return any(table.called(name) for name in ANSWERS)
