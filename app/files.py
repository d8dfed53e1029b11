"""Files: where a source's examples lie, and what a file of them says, row by row. No heavy imports."""

from __future__ import annotations

import csv
import hashlib
import json
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from app import rooms
from app.problems import Problem, shorten
from app.spec import Source

Row = dict[str, Any]
SUFFIXES = (".jsonl", ".ndjson", ".json", ".csv", ".tsv", ".parquet", ".txt")


def file_of(source: Source, split: str | None = None) -> Path | None:
    """The file behind a sample, upload or path; None for a Hub source. Raises Problem when it isn't there."""
    kind, _, name = source.source.partition(":")
    if kind == "hub":
        return None
    if kind == "sample":
        path = rooms.ROOT / "presets" / "samples" / name / f"{split or source.split}.jsonl"
        known = sorted(folder.name for folder in path.parent.parent.iterdir() if folder.is_dir())
        advice = rooms.nearest(name, known) if name not in known else "Its splits are train and holdout."
    elif kind == "upload":
        path, advice = uploaded(name), "Upload the file again."
    else:
        path, advice = Path(os.path.expanduser(name)), "Check the path."
    if not os.path.isfile(path):  # unlike pathlib's it takes any text, also one too long for a path
        raise Problem(
            f"The examples “{shorten(source.source, 200)}” are not there.", advice=advice, reason="data_not_found"
        )
    if path.suffix.lower() not in SUFFIXES:
        raise Problem(f"Files ending in “{path.suffix}” cannot be read.", advice=f"Use one of {', '.join(SUFFIXES)}.")
    return path


def uploaded(name: str) -> Path:
    """The file behind SHA256 or SHA256.suffix, whoever brought it; the bare name when nobody did."""
    sha, _, suffix = name.partition(".")
    found = sorted(rooms.home("uploads").glob(f"*/{sha}/[!.]*"))
    return next((path for path in found if path.suffix.lower() == f".{suffix}" or not suffix), Path(name))


# How files begin that only look like text by their name, and what they are.
DISGUISED = {b"\x89PNG\r\n": "a PNG picture", b"\xff\xd8\xff": "a JPEG picture", b"GIF87a": "a GIF picture", b"GIF89a": "a GIF picture",
             b"%PDF-": "a PDF", b"PK\x03\x04": "an Excel workbook or another zip archive", b"\xd0\xcf\x11\xe0": "an old Office file",
             b"\x1f\x8b": "a gzip archive"}  # fmt: skip
AS_CSV = "In a spreadsheet: Save as → CSV UTF-8."


def name_of(source: Source) -> str:
    """What a person calls it: an upload by the name it came with, a path by its file's."""
    kind, _, name = source.source.partition(":")
    return {"upload": lambda: uploaded(name).name, "path": lambda: Path(name).name}.get(kind, lambda: name)()


def read(path: Path) -> Iterator[Row]:
    """Rows of a file, one by one. Raises Problem with the line where it stops being readable."""
    readers = {".json": read_json, ".csv": read_csv, ".tsv": read_csv, ".parquet": read_parquet, ".txt": read_text}
    refuse_disguised(path)
    try:
        yield from readers.get(path.suffix.lower(), read_jsonl)(path)
    except UnicodeDecodeError as error:
        raise Problem(
            f"{path.name} is not text in UTF-8 (byte {first_bad_byte(path)}).", advice=f"Save it as UTF-8. {AS_CSV}"
        ) from error
    except RecursionError as error:
        raise Problem(
            f"{path.name} is nested too deeply.", advice="Mend the file, or bring another.", reason="unreadable_data"
        ) from error
    except (ValueError, csv.Error) as error:  # a border: a person's file
        raise Problem(f"{path.name} cannot be read: {error}.", advice="Mend the file, or bring another.",
                      reason="unreadable_data") from error  # fmt: skip


def refuse_disguised(path: Path) -> None:
    """Raises Problem for a picture or an archive that was given the name of a table."""
    with path.open("rb") as file:
        head = file.read(16)
    what = next((what for magic, what in DISGUISED.items() if head.startswith(magic)), None)
    if what and path.suffix.lower() != ".parquet":
        advice = AS_CSV if "Excel" in what or "Office" in what else "Bring a table or JSON lines."
        raise Problem(f"{path.name} is {what}, not a table.", advice=advice, reason="unreadable_data")


def first_bad_byte(path: Path) -> int:
    """Where the file stops being UTF-8, counted from its beginning: a reader's own error counts from its last buffer."""
    try:
        path.read_bytes().decode()
    except UnicodeDecodeError as error:
        return error.start
    return 0


def read_jsonl(path: Path) -> Iterator[Row]:
    with path.open(encoding="utf-8-sig") as file:
        for number, line in enumerate(file, 1):
            if not line.strip():
                continue
            try:
                row = json.loads(line)
                if "\\ud" in line.lower():
                    json.dumps(
                        row, ensure_ascii=False
                    ).encode()  # JSON's escapes can say half of a character, and no tokenizer takes it
            except UnicodeEncodeError as error:
                raise ValueError(f"line {number} holds half of a character") from error
            except RecursionError as error:
                raise ValueError(f"line {number} is nested too deeply") from error
            except ValueError as error:
                raise ValueError(f"line {number} is not JSON ({error})") from error
            if not isinstance(row, dict):
                raise ValueError(f"line {number} is a {type(row).__name__}, not an object with columns")
            yield row


def read_json(path: Path) -> Iterator[Row]:
    try:
        data = json.loads(path.read_text(encoding="utf-8-sig"))
    except json.JSONDecodeError as error:
        hint = "; it looks like JSON lines, so call it .jsonl" if error.msg == "Extra data" else ""
        raise ValueError(f"{error}{hint}") from error
    if not isinstance(data, list) or not all(isinstance(row, dict) for row in data):
        raise ValueError("it is not a list of objects")
    yield from data


def read_csv(path: Path) -> Iterator[Row]:
    csv.field_size_limit(2**31 - 1)
    with path.open(encoding="utf-8-sig", newline="") as file:
        # strict: otherwise a stray quote swallows the lines that follow it, and says nothing
        table = csv.DictReader(file, delimiter="\t" if path.suffix.lower() == ".tsv" else ",", strict=True)
        line = 0
        try:
            table.fieldnames  # noqa: B018 reads the first line, so that rows are counted from the second
            line = table.line_num
            for row in table:
                yield {key: value for key, value in row.items() if key is not None}
                line = table.line_num
        except csv.Error as error:
            raise ValueError(said_of(error, line + 1)) from error


def said_of(error: csv.Error, line: int) -> str:
    """Python's words for what is wrong with a table, in ours."""
    if "unexpected end" in str(error):
        return f"a quote in the row of line {line} is not closed"
    if "expected after" in str(error):
        return f"in the row of line {line} text follows a closed quote; a quote within a text is written twice"
    return f"the row of line {line}: {error}"


def read_parquet(path: Path) -> Iterator[Row]:
    import pyarrow.parquet  # here: the page's process reads parquet only when somebody brings it

    for batch in pyarrow.parquet.ParquetFile(path).iter_batches(batch_size=256):  # a small file may hold long rows
        yield from batch.to_pylist()


def read_text(path: Path) -> Iterator[Row]:
    """Paragraphs, separated by blank lines, as `text`."""
    for part in re.split(r"\n[ \t]*\n", path.read_text(encoding="utf-8-sig")):
        if part.strip():
            yield {"text": part.strip()}


def fingerprint(path: Path) -> str:
    """SHA-256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
