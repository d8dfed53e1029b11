"""Reader of JSON files: documents of any form in which a table or an example is written, parsed incrementally."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from app.data.readers import json_lines
from app.data.reading.json_document_file import read_document_file
from app.data.reading.json_rows import DocumentItem
from app.setup.spec import Source

SUFFIXES = (".json",)


def read(path: Path, source: Source) -> Iterator[DocumentItem]:
    """The rows of a file. Raises ValueError, or UnreadableFile for a wrong encoding."""
    if json_lines.are_first_lines_rows(path, source.encoding):
        yield from json_lines.read_json_lines(path, source)
    else:
        yield from read_document_file(path, source)
