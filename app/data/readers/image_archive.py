"""Pictures in a zip: those that a table beside them names, or all of them, with their file names as `text`."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from app.data import archives
from app.data.text_lines import Bad
from app.setup.spec import Source

SUFFIXES = (".zip",)


def read(path: Path, source: Source) -> Iterator[dict[str, Any] | Bad]:
    folder = archives.unpacked(path)
    table = archives.table_in(folder, path)
    if table is None:
        yield from (shown(picture, folder) for picture in archives.pictures_in(folder))
        return
    from app.data.files import reader_of

    for row in reader_of(table).read(table, source):
        yield row if isinstance(row, Bad) else with_picture(row)


def with_picture(row: dict[str, Any]) -> dict[str, Any]:
    """A column `file_name` holds the picture, as in folders for `datasets`."""
    named = row.get("file_name")
    if not isinstance(named, str) or "image" in row or "images" in row or not named.lower().endswith(archives.PICTURES):
        return row
    return {"image" if name == "file_name" else name: value for name, value in row.items()}


def shown(picture: Path, folder: Path) -> dict[str, str]:
    """{"image", "text", "folder" where it lies in one}: a_red_circle-07.png is “a red circle”."""
    inside = picture.relative_to(folder)
    text = re.sub(r"[\s_-]+", " ", re.sub(r"[\s_-]*\(?\d*\)?$", "", inside.stem)).strip() or inside.stem
    below = {"folder": inside.parent.name} if inside.parent.name else {}
    return {"image": inside.as_posix(), "text": text} | below


def folder_of(path: Path) -> Path:
    """Where its pictures lie, seen from the rows."""
    folder = archives.unpacked(path)
    table = archives.table_in(folder, path)
    return table.parent if table else folder
