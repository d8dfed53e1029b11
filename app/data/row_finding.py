"""A finding about rows of a source, as the reports on its first rows make them."""

from __future__ import annotations

from collections.abc import Sequence

from app.contracts import Finding, Remedy, Severity

_MAX_LISTED_ROWS = 20  # row numbers in a finding


def make_finding(
    finding_id: str, severity: Severity, text: str, rows: Sequence[int] = (), remedy: Remedy | None = None
) -> Finding:
    """A finding about rows. rows: their numbers, from 1."""
    return {
        "id": finding_id,
        "severity": severity,
        "text": text,
        "count": len(rows),
        "rows": [*rows][:_MAX_LISTED_ROWS],
        "remedy": remedy,
    }


def lowercase_first(title: str) -> str:
    """The title with a small first letter, for use within a sentence."""
    return title[0].lower() + title[1:]
