"""Names of the columns of a table without unique ones."""

from __future__ import annotations

from itertools import count


def unique_column_names(headers: list[str]) -> list[str]:
    """The column names of a header; empty and repeated ones get a number, which makes no name of another column."""
    headers = [header.strip() for header in headers]
    taken_names = {*headers}
    names: list[str] = []
    for number, header in enumerate(headers, 1):
        name = header
        if not header or header in names:
            start, stem = (2, header) if header else (number, "column")
            free_names = (f"{stem}_{index}" for index in count(start) if f"{stem}_{index}" not in taken_names)
            name = next(free_names)
            taken_names.add(name)
        names.append(name)
    return names
