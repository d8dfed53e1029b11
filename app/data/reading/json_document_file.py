"""Reading of a file that is one JSON document, as JSON5 where it is not strict JSON."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path

import pyjson5

from app.data.fields import Cell
from app.data.reading.json_document import MissingSplitError, read_document
from app.data.reading.json_rows import DocumentItem
from app.data.reading.json_scanner import MAX_DEPTH, JsonScanner, JsonSyntaxError
from app.data.reading.text_lines import (
    MAX_ROW_BYTES,
    FileNote,
    UnreadableFile,
    UnreadableRow,
    first_invalid_byte,
    open_utf8,
)
from app.setup.spec import Source

_HEAD_BYTES = 4_096  # in which a document begins


def read_document_file(path: Path, source: Source) -> Iterator[DocumentItem]:
    """The rows of a file. Raises ValueError, or UnreadableFile for a wrong encoding."""
    if path.suffix.lower() in (".jsonl", ".ndjson"):
        with open_utf8(path, source.encoding) as file:
            form = "array" if file.read(_HEAD_BYTES).lstrip().startswith(b"[") else "object"
        yield FileNote(f"The file is a JSON {form} although its name ends in {path.suffix.lower()}.")
    try:
        yield from _read_as_json(path, source)
    except UnicodeDecodeError as error:
        location = f" (byte {first_invalid_byte(path)})" if path.suffix.lower() != ".gz" else ""
        raise UnreadableFile(UnreadableRow(f"it is not text in UTF-8{location}", "encoding")) from error


def _read_as_json(path: Path, source: Source) -> Iterator[DocumentItem]:
    """The rows of a file; after an error of syntax, the rest as JSON5 if all of it is. Raises ValueError."""
    num_items = 0
    try:
        for item in _read_split(lambda: _open_text(path, source), source.split):
            num_items += 1
            yield item
        return
    except JsonSyntaxError as error:
        strict_error = error
    strict_text = _read_as_json5(path, source)
    if strict_text is None:
        raise strict_error
    yield FileNote("The file is JSON5, not strict JSON: comments and surplus commas in it are passed over.")
    yield from islice(_read_split(lambda: io.StringIO(strict_text), source.split), num_items, None)


def _open_text(path: Path, source: Source) -> io.TextIOBase:
    """The file as text, which closes it."""
    return io.TextIOWrapper(open_utf8(path, source.encoding), encoding="utf-8", newline="")


def _read_split(open_text: Callable[[], io.TextIOBase], split: str) -> Iterator[DocumentItem]:
    """The rows of a document; where it has a single list, that list, whichever split it is named after."""
    try:
        with open_text() as text:
            yield from read_document(JsonScanner(text), split)
    except MissingSplitError as error:
        if len(error.names) > 1:
            raise
        with open_text() as text:
            yield from read_document(JsonScanner(text), error.names[0].lower())


def _read_as_json5(path: Path, source: Source) -> str | None:
    """The text of a JSON5 file as strict JSON; None where it is no JSON5, or over the size limit of a row: it is held
    in memory as a whole."""
    with open_utf8(path, source.encoding) as file:
        content = file.read(MAX_ROW_BYTES + 1)
    if len(content) > MAX_ROW_BYTES:
        return None
    parsed = parse_json5(content.decode())
    return None if parsed is None else json.dumps(parsed)


def parse_json5(text: str) -> Cell:
    """The value of a JSON5 text, which may end with a comma; None where it is no JSON5."""
    try:
        parsed: Cell = pyjson5.decode(text.strip().removesuffix(","), maxdepth=MAX_DEPTH)
    except pyjson5.Json5Exception:
        return None
    return parsed
