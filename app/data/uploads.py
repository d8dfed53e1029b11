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

from app.core import registry
from app.core.problems import Problem, explain, shorten
from app.core.validation import parse
from app.data import file_scan, files
from app.data.rows import layout_of
from app.data.text_lines import likely_encoding
from app.data.unreadable_rows import Unread
from app.setup.spec import Source

MOST = 500_000_000  # bytes; all rows are in memory while they are prepared
KINDS = files.SUFFIXES
TABLES = (".csv", ".tsv")
LOOKED_AT = 50  # rows in which a column's example is looked for
MOST_COLUMNS = 200


async def receive(chunks: AsyncIterator[bytes], name: str, owner: str, most: int = MOST) -> dict[str, Any]:
    """What `look` says of the file that was sent, once all of it can be read. Raises Problem, and then keeps nothing."""
    require_kind(name)
    with tempfile.TemporaryDirectory(dir=registry.home("uploads"), prefix=".") as folder:
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
    """Moves a file of which something can be read to uploads/OWNER/SHA256/; the same bytes are kept once. Raises Problem."""
    found = surveyed(path)
    sha = files.fingerprint(path)
    folder = registry.home("uploads", plain_name(owner), sha)
    if not any(kept.suffix.lower() == path.suffix.lower() for kept in folder.glob("[!.]*")):
        file_scan.keep(folder, path, found)
        shutil.move(path, folder / path.name)
    return look(f"upload:{sha}{path.suffix.lower()}") | {"name": path.name}


def surveyed(path: Path) -> file_scan.Survey:
    """Reads the whole file, so that a fault in its last line is said now. Raises Problem."""
    if not path.stat().st_size:
        raise Problem(f"{path.name} is empty.", advice="Bring a file with examples.", reason="no_rows")
    try:
        found = file_scan.survey(path)
    except OSError as error:  # a border: a person's file, or their disk
        raise explain(error) from error
    if not found["rows"] and not found["findings"]:
        raise Problem(f"{path.name} holds no examples.", advice="Bring a file with at least one row.", reason="no_rows")
    return found


def look(source: str, place: int = 0, **how: Any) -> dict[str, Any]:
    """{"source", "name", "bytes", "rows", "columns": [{"name", "example"}], "layout": known layout or None, "headless",
    "findings"}. Raises Problem.

    place: of the source in the setup, for remedies. how: what the setup says of it: split, start, limit, skip_bad, headless,
    parts, encoding, config, revision. rows: how many there are, None where that is not quickly known. headless: a table
    whose first line looks like an example, not like names of columns. A Hub dataset is looked at from its first rows, in a
    process that may load `datasets`: the page asks its worker (`Worker.look`).
    """
    told, unread = parse(Source, {"source": source} | how, "The source"), Unread()
    path = files.file_of(told)
    try:
        lenient = told.model_copy(update={"skip_bad": True})
        rows = list(islice(files.rows_of(lenient, unread=unread, streaming=True), LOOKED_AT))
    except Problem as problem:
        if problem.reason != "encoding":
            raise
        rows = []  # nothing can be read before a person says in which encoding
    first = rows[0] if rows else {}
    is_table = path is not None and files.kind_of(path) in TABLES and not told.headless
    return {"source": source, "name": files.name_of(told), "bytes": path.stat().st_size if path else None,
            "rows": file_scan.count(told, path), "columns": list(columns(rows)), "layout": layout_of(first) or layout_of(first, holes=True),
            "headless": is_table and headless(first), "findings": findings(told, path, unread, place)}  # fmt: skip


def findings(source: Source, path: Path | None, unread: Unread, place: int) -> list[dict[str, Any]]:
    """Of the whole file where it was brought here; else of its first rows."""
    found = file_scan.kept(path) if path else None
    if found is not None and not source.encoding:
        return file_scan.settled(found, source, place)
    return unread.findings(place, source.skip_bad, likely_encoding(path) if path and unread.encoding else None)


def refusal(looked: dict[str, Any]) -> Problem | None:
    """What is wrong with a file that was kept all the same, since a person can decide to read it in another way."""
    wrong = [one for one in looked["findings"] if one["severity"] == "wrong"]
    if not wrong:
        return None
    ways = " Or: ".join(f"{one['remedy']['title']}." for one in wrong if one["remedy"])
    return Problem(f"{looked['name']} cannot be read as it is. {wrong[0]['text']}", advice=f"Mend the file. Or: {ways}", reason=wrong[0]["id"])  # fmt: skip


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
    if files.kind_of(name) in files.readers():
        return
    shown = f"Files ending in “{shorten(suffix, 20)}”" if suffix else "Files without an ending"
    advice = "Bring JSON lines (.jsonl), a table (.csv), Parquet (.parquet), text (.txt) or pictures (.zip)."
    if suffix in (".xlsx", ".xls", ".ods", ".numbers"):
        advice = files.AS_CSV
    if suffix == files.PACKED:
        advice = "Name also what is packed in it, such as examples.jsonl.gz."
    raise Problem(f"{shown} cannot be read.", advice=advice)


def require_size(size: int, most: int = MOST) -> None:
    if size > most:
        raise Problem(f"The file is larger than {most // 1_000_000} MB, which is the most this page takes.",
                      advice="Bring a part of it: a few thousand good examples teach more than a million poor ones.",
                      reason="too_large")  # fmt: skip


def plain_name(name: str) -> str:
    """A name that is only a name: no folders, no control characters, nothing hidden, short enough for any disk."""
    stem, suffix = os.path.splitext(re.sub(r"[^\w .()+-]", "_", name.replace("\\", "/").rpartition("/")[2]))
    return (stem.strip(" .").encode()[:100].decode(errors="ignore") or "examples") + suffix.lower()
