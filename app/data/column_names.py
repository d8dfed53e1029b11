"""Names of the columns of a table without unique ones."""

from __future__ import annotations

from collections import Counter


def unique_column_names(headers: list[str]) -> list[str]:
    """The column names of a header; empty and repeated ones get a number."""
    num_uses: Counter[str] = Counter()
    names = []
    for number, header in enumerate(headers, 1):
        name = header.strip() or f"column_{number}"
        num_uses[name] += 1
        names.append(name if num_uses[name] == 1 else f"{name}_{num_uses[name]}")
    return names
