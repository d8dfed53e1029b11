"""Uploads: files of examples, scanned to their end and then stored by person and SHA-256."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
from collections.abc import AsyncIterator, Iterator
from itertools import islice
from pathlib import Path
from typing import TypedDict

from app.contracts import Finding
from app.core.json_types import JsonValue
from app.core.problems import Problem, shorten, to_problem
from app.core.scratch import ScratchFolder
from app.core.validation import validate
from app.core.workspace import Workspace
from app.data.fields import Row
from app.data.reading import file_scan, files
from app.data.reading.text_lines import guess_encoding
from app.data.reading.unreadable_rows import FILE_FORM, UnreadableRows
from app.data.rows import row_type_of
from app.setup.spec import Source

MAX_UPLOAD_BYTES = 500_000_000  # all rows are in memory while they are prepared
ACCEPTED_SUFFIXES = files.SUFFIXES
_TABLE_SUFFIXES = (".csv", ".tsv", ".xlsx")
_NUM_INSPECTED_ROWS = 50  # in which an example of each column is searched
_MAX_COLUMNS = 200


class ColumnExample(TypedDict):
    """A column, and its first cell that is not empty, as text."""

    name: str
    example: str


class SourceDescription(TypedDict):
    """A source for the page.

    name: for people. bytes: the size of its file, None on the Hub. rows: how many, None where it is not known without a
    long read. layout: the row type. headless: a table whose first line looks like an example, not like column names.
    """

    source: str
    name: str
    bytes: int | None
    rows: int | None
    columns: list[ColumnExample]
    layout: str | None
    headless: bool
    findings: list[Finding]


@contextlib.asynccontextmanager
async def receive_upload(
    workspace: Workspace, chunks: AsyncIterator[bytes], name: str, max_bytes: int = MAX_UPLOAD_BYTES
) -> AsyncIterator[Path]:
    """Gives the file that a request sends, for `store_upload`, and removes it at the end. Raises Problem."""
    _require_known_suffix(name)
    with ScratchFolder(workspace) as folder:
        path = folder / safe_file_name(name)
        with path.open("wb") as file:
            async for chunk in chunks:
                file.write(chunk)
                require_size(file.tell(), max_bytes)
        yield path


def store_upload(workspace: Workspace, path: Path, owner: str) -> SourceDescription:
    """Moves a file to uploads/OWNER/SHA256/ and describes it; the same bytes are stored once.

    Raises Problem where no row can be read.
    """
    scan = _scan_upload(path)
    sha256 = files.file_sha256(path)
    folder = workspace.folder("uploads", safe_file_name(owner), sha256)
    if not any(stored_file.suffix.lower() == path.suffix.lower() for stored_file in folder.glob("[!.]*")):
        file_scan.save_scan(folder, path, scan)
        shutil.move(path, folder / path.name)
    return {**describe_source(f"upload:{sha256}{path.suffix.lower()}"), "name": path.name}


def _scan_upload(path: Path) -> file_scan.FileScan:
    """Scans a file to its end, so that an error in its last line is reported now.

    Raises Problem for one without rows.
    """
    if not path.stat().st_size:
        raise Problem(f"{path.name} is empty.", advice="Bring a file with examples.", reason="no_rows")
    try:
        scan = file_scan.scan_file(path)
    except OSError as error:  # boundary: a person's file, or the disk
        raise to_problem(error) from error
    if not scan["rows"] and all(finding["id"] == FILE_FORM for finding in scan["findings"]):
        raise Problem(f"{path.name} holds no examples.", advice="Bring a file with at least one row.", reason="no_rows")
    return scan


def describe_source(source_name: str, source_index: int = 0, **settings: JsonValue) -> SourceDescription:
    """The description of a source by its first rows.

    source_index: of the source in its spec, for remedies. settings: other fields of the source, such as split, limit or
    encoding. A dataset on the Hub is described in a process that may load `datasets`: the page asks its worker
    (`WorkerClient.preview_source`). Raises Problem.
    """
    source, unreadable = validate(Source, {"source": source_name} | settings, "The source"), UnreadableRows()
    path = files.source_path(source)
    try:
        lenient_source = source.model_copy(update={"skip_bad": True})
        all_rows = files.read_source_rows(lenient_source, unreadable=unreadable, streaming=True)
        rows = list(islice(all_rows, _NUM_INSPECTED_ROWS))
    except Problem as problem:
        if problem.reason != "encoding":
            raise
        rows = []  # nothing can be read before a person chooses the encoding
    first_row = rows[0] if rows else {}
    is_table = path is not None and files.file_suffix(path) in _TABLE_SUFFIXES and not source.headless
    return {
        "source": source_name,
        "name": files.display_name(source),
        "bytes": path.stat().st_size if path else None,
        "rows": file_scan.count_readable_rows(source, path),
        "columns": list(_column_examples(rows)),
        "layout": row_type_of(first_row) or row_type_of(first_row, allow_null=True),
        "headless": is_table and _has_no_header(first_row),
        "findings": _source_findings(source, path, unreadable, source_index),
    }


def _source_findings(source: Source, path: Path | None, unreadable: UnreadableRows, source_index: int) -> list[Finding]:
    """Findings about unreadable rows: of the whole file for an upload, else of the first rows."""
    scan = file_scan.load_scan(path) if path else None
    if scan is not None and not source.encoding:
        return file_scan.findings_for_source(scan, source, source_index)
    encoding = guess_encoding(path) if path and unreadable.num_encoding_errors else None
    return unreadable.findings(source_index, source.skip_bad, encoding)


def unreadable_upload_problem(description: SourceDescription) -> Problem | None:
    """The Problem of an upload with unreadable rows; None without any.

    It is stored all the same, because other settings may help.
    """
    errors = [finding for finding in description["findings"] if finding["severity"] == "wrong"]
    if not errors:
        return None
    remedies = " Or: ".join(f"{finding['remedy']['title']}." for finding in errors if finding["remedy"])
    return Problem(
        f"{description['name']} cannot be read as it is. {errors[0]['text']}",
        advice=f"Mend the file. Or: {remedies}",
        reason=errors[0]["id"],
    )


def _has_no_header(first_row: Row) -> bool:
    """Whether the column names look like an example: long, a number, or the end of a sentence."""
    return any(
        len(name.split()) > 5 or name.strip().endswith((".", "?", "!")) or _is_number(name) for name in first_row
    )


def _is_number(text: str) -> bool:
    """Whether a text is a decimal number."""
    return text.strip().lstrip("+-").replace(".", "", 1).isdigit()


def _column_examples(rows: list[Row]) -> Iterator[ColumnExample]:
    """An example of each column."""
    names = list(dict.fromkeys(name for row in rows for name in row))[:_MAX_COLUMNS]
    for name in names:
        example = next((row[name] for row in rows if row.get(name) not in (None, "", [])), "")
        yield {"name": name, "example": shorten(str(example)[:1000], 160)}


def _require_known_suffix(name: str) -> None:
    """Raises Problem for a file name with a suffix that no reader has."""
    suffix = os.path.splitext(name)[1].lower()
    if files.file_suffix(name) in files.readers_by_suffix():
        return
    subject = f"Files ending in “{shorten(suffix, 20)}”" if suffix else "Files without an ending"
    advice = "Bring JSON lines (.jsonl), a table (.csv, .xlsx), Parquet (.parquet), text (.txt) or pictures (.zip)."
    if suffix in (".xls", ".xlsm", ".xlsb", ".ods", ".numbers"):
        advice = files.SAVE_AS_CSV_ADVICE
    if suffix == files.GZIP_SUFFIX:
        advice = "Name also what is packed in it, such as examples.jsonl.gz."
    raise Problem(f"{subject} cannot be read.", advice=advice)


def require_size(size: int, max_bytes: int = MAX_UPLOAD_BYTES) -> None:
    """Raises Problem for a file of more than `max_bytes`."""
    if size > max_bytes:
        raise Problem(
            f"The file is larger than {max_bytes // 1_000_000} MB, which is the most this page takes.",
            advice="Bring a part of it: a few thousand good examples teach more than a million poor ones.",
            reason="too_large",
        )


def safe_file_name(name: str) -> str:
    """A file name without folders, control characters and leading dots, short enough for any file system."""
    stem, suffix = os.path.splitext(re.sub(r"[^\w .()+-]", "_", name.replace("\\", "/").rpartition("/")[2]))
    return (stem.strip(" .").encode()[:100].decode(errors="ignore") or "examples") + suffix.lower()
