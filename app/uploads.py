"""Uploads: a person's file of examples, checked row by row before it is kept under its own hash."""

from __future__ import annotations

import asyncio
import os
import re
import shutil
import tempfile
from collections.abc import AsyncIterator, Iterator
from itertools import islice
from pathlib import Path
from typing import Any

from app import files, rooms
from app.problems import Problem, explain, shorten
from app.rows import layout_of
from app.spec import Source

MOST = 500_000_000  # bytes; all rows are in memory while they are prepared
KINDS = (".jsonl", ".csv", ".parquet", ".json", ".ndjson", ".tsv", ".txt")
TABLES = (".csv", ".tsv")
LOOKED_AT = 50  # rows in which a column's example is looked for
MOST_COLUMNS = 200


async def receive(chunks: AsyncIterator[bytes], name: str, owner: str, most: int = MOST) -> dict[str, Any]:
    """What `look` says of the file that was sent, once all of it can be read. Raises Problem, and then keeps nothing."""
    require_kind(name)
    with tempfile.TemporaryDirectory(dir=rooms.home("uploads"), prefix=".") as folder:
        path = Path(folder) / plain_name(name)
        with path.open("wb") as file:
            async for chunk in chunks:
                file.write(chunk)
                require_size(file.tell(), most)
        return await in_thread(path, owner)


async def in_thread(path: Path, owner: str) -> dict[str, Any]:
    """Reading a large file takes seconds, in which the page answers others."""
    return await asyncio.to_thread(keep, path, owner)


def keep(path: Path, owner: str) -> dict[str, Any]:
    """Moves a readable file to uploads/OWNER/SHA256/; the same bytes are kept once. Raises Problem."""
    count = count_rows(path)
    sha = files.fingerprint(path)
    folder = rooms.home("uploads", plain_name(owner), sha)
    if not any(kept.suffix.lower() == path.suffix.lower() for kept in folder.glob("[!.]*")):
        shutil.move(path, folder / path.name)
    return look(f"upload:{sha}{path.suffix.lower()}") | {"name": path.name, "rows": count}


def count_rows(path: Path) -> int:
    """Reads the whole file, so that a fault in its last line is said now. Raises Problem."""
    if not path.stat().st_size:
        raise Problem(f"{path.name} is empty.", advice="Bring a file with examples.", reason="no_rows")
    try:
        count = sum(1 for _ in files.read(path))
    except OSError as error:  # a border: a damaged parquet file is an OSError of its library
        raise explain(error) if error.errno else Problem(
            f"{path.name} cannot be read: {shorten(str(error))}.", advice="Mend the file, or bring another.",
            reason="unreadable_data") from error  # fmt: skip
    if not count:
        raise Problem(f"{path.name} holds no examples.", advice="Bring a file with at least one row.", reason="no_rows")
    return count


def look(source: str) -> dict[str, Any]:
    """{"source", "name", "bytes", "columns": [{"name", "example"}], "layout": known layout or None, "headless"}. Raises Problem.

    headless: a table whose first line looks like an example, not like names of columns.
    """
    path = files.file_of(Source(source=source))
    assert path is not None, "Hub datasets are looked at elsewhere"
    rows = list(islice(files.read(path), LOOKED_AT))
    first = rows[0] if rows else {}
    return {"source": source, "name": path.name, "bytes": path.stat().st_size, "columns": list(columns(rows)),
            "layout": layout_of(first) or layout_of(first, holes=True), "headless": path.suffix in TABLES and headless(first)}  # fmt: skip


def headless(row: files.Row) -> bool:
    """A name of a column has few words, is no number, and ends no sentence."""
    return any(len(name.split()) > 5 or name.strip().endswith((".", "?", "!")) or is_number(name) for name in row)


def is_number(text: str) -> bool:
    return text.strip().lstrip("+-").replace(".", "", 1).isdigit()


def columns(rows: list[files.Row]) -> Iterator[dict[str, str]]:
    """Every column with the first thing it says."""
    names = list(dict.fromkeys(name for row in rows for name in row))[:MOST_COLUMNS]
    for name in names:
        said = next((row[name] for row in rows if row.get(name) not in (None, "", [])), "")
        yield {"name": name, "example": shorten(str(said)[:1000], 160)}


def require_kind(name: str) -> None:
    suffix = os.path.splitext(name)[1].lower()
    if suffix not in KINDS:
        shown = f"Files ending in “{shorten(suffix, 20)}”" if suffix else "Files without an ending"
        table = files.AS_CSV if suffix in (".xlsx", ".xls", ".ods", ".numbers") else ""
        raise Problem(
            f"{shown} cannot be read.",
            advice=table or "Bring JSON lines (.jsonl), a table (.csv) or Parquet (.parquet).",
        )


def require_size(size: int, most: int = MOST) -> None:
    if size > most:
        raise Problem(f"The file is larger than {most // 1_000_000} MB, which is the most this page takes.",
                      advice="Bring a part of it: a few thousand good examples teach more than a million poor ones.",
                      reason="too_large")  # fmt: skip


def plain_name(name: str) -> str:
    """A name that is only a name: no folders, no control characters, nothing hidden, short enough for any disk."""
    stem, suffix = os.path.splitext(re.sub(r"[^\w .()+-]", "_", name.replace("\\", "/").rpartition("/")[2]))
    return (stem.strip(" .").encode()[:100].decode(errors="ignore") or "examples") + suffix.lower()
