"""Reader of JSON lines: one object with columns, or one conversation as a list of turns, on each line."""

from __future__ import annotations

import json
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import orjson

from app.data.fields import Cell, Row
from app.data.reading.json_document_file import parse_json5, read_document_file
from app.data.reading.json_rows import DocumentItem, checked_row, turns_as_row
from app.data.reading.json_scanner import is_too_deep
from app.data.reading.text_lines import FileNote, UnreadableRow, decode_line, open_utf8, read_lines
from app.setup.spec import Source

SUFFIXES = (".jsonl", ".ndjson")
_DIGITS_TO_ZERO = bytes.maketrans(b"123456789", b"000000000")
_LONG_INTEGER = b"0" * 19  # integers of this length or more may be rounded by orjson
_MAX_LINE_BYTES = 4_000_000  # of the first lines, which are read to see whether each is a row
_COMMENT = b"//"
_LISTS_SENTENCE = "Each line is a list of turns: one conversation."
_JSON5_SENTENCE = "Line {} is JSON5, not strict JSON: comments and surplus commas in such lines are passed over."


def read(path: Path, source: Source) -> Iterator[DocumentItem]:
    """The rows of a file; of a file that is one JSON document in truth, its rows. Raises ValueError."""
    if is_document(path, source.encoding):
        yield from read_document_file(path, source)
    else:
        yield from read_json_lines(path, source)


def read_json_lines(path: Path, source: Source) -> Iterator[DocumentItem]:
    """The rows of a file, one on each line; blank lines and comments are skipped."""
    noted_forms: set[bool] = set()
    with open_utf8(path, source.encoding) as file:
        for number, start, line in read_lines(file):
            if isinstance(line, UnreadableRow):
                yield line
            elif not line.isspace() and not line.startswith(_COMMENT):
                row, sentence = parse_row(line, number, start), ""
                if isinstance(row, UnreadableRow) and row.kind == "row":
                    row, sentence = _parse_unusual_line(line, number, row)
                if sentence and (sentence == _LISTS_SENTENCE) not in noted_forms:
                    noted_forms.add(sentence == _LISTS_SENTENCE)
                    yield FileNote(sentence)
                yield row


def _first_lines(path: Path, encoding: str | None) -> list[bytes]:
    """The first two lines that are neither blank nor comments, each up to a size limit."""
    with open_utf8(path, encoding) as file:
        lines = (file.readline(_MAX_LINE_BYTES) for _ in range(20))
        return [*islice((line for line in lines if line.strip() and not line.startswith(_COMMENT)), 2)]


def are_first_lines_rows(path: Path, encoding: str | None) -> bool:
    """Whether a .json file holds JSON lines: its first two lines are a row each."""
    first_lines = _first_lines(path, encoding)
    return len(first_lines) == 2 and all(isinstance(_parse_strictly(line), dict) for line in first_lines)


def is_document(path: Path, encoding: str | None) -> bool:
    """Whether a .jsonl file is one JSON document: an array, or an object that begins with its brace alone."""
    first_lines = _first_lines(path, encoding)
    if not first_lines or first_lines[0].lstrip()[:1] not in (b"[", b"{"):
        return False
    parsed = _parse_strictly(first_lines[0])
    if isinstance(parsed, list):
        return len(first_lines) == 1
    is_next_list = len(first_lines) > 1 and isinstance(_parse_strictly(first_lines[1]), list)
    begins_array = first_lines[0].lstrip().startswith(b"[") and not is_next_list
    return parsed is None and (begins_array or first_lines[0].strip() == b"{")


def _parse_strictly(line: bytes) -> Cell:
    """A line as JSON; None where it is none, or over the size limit and so not whole."""
    if len(line) == _MAX_LINE_BYTES:
        return None
    try:
        parsed: Cell = json.loads(line)
    except (ValueError, RecursionError):  # boundary: a person's file
        return None
    return parsed


def _parse_unusual_line(line: bytes, number: int, unreadable: UnreadableRow) -> tuple[Row | UnreadableRow, str]:
    """(row, a sentence about its form) of a line that is a list of turns, or JSON5; (unreadable, "") for any other."""
    value, sentence = _parse_strictly(line), _LISTS_SENTENCE
    if value is None:
        text = line.decode(errors="replace")
        value, sentence = parse_json5(text), _JSON5_SENTENCE.format(number)
    row = turns_as_row(value)
    if not isinstance(row, dict):
        return unreadable, ""
    checked = checked_row(row, line.decode(errors="replace"), f"line {number}")
    return checked, "" if isinstance(checked, UnreadableRow) else sentence


def parse_row(line: bytes, number: int, start: int) -> Row | UnreadableRow:
    """A line as a row. number: of the line, from 1. start: position of its first byte."""
    try:
        row = None if _LONG_INTEGER in line.translate(_DIGITS_TO_ZERO) else orjson.loads(line)
    except orjson.JSONDecodeError:
        row = None
    if not isinstance(row, dict):
        row = _parse_row_with_stdlib(line, number, start)
    if isinstance(row, dict) and is_too_deep(line, row):
        return UnreadableRow(f"line {number} is nested too deeply")
    return row


def _parse_row_with_stdlib(line: bytes, number: int, start: int) -> Row | UnreadableRow:
    """The same with Python's slower parser, which accepts NaN and long integers, and describes errors."""
    text = decode_line(line, number, start)
    if isinstance(text, UnreadableRow):
        return text
    try:
        row = json.loads(text)
        json.dumps(row, ensure_ascii=False).encode()  # fails for lone surrogates, which no tokenizer accepts
    except UnicodeEncodeError:
        return UnreadableRow(f"line {number} holds half of a character")
    except RecursionError:
        return UnreadableRow(f"line {number} is nested too deeply")
    except json.JSONDecodeError as error:
        return UnreadableRow(f"line {number} is not JSON ({error.msg} at its character {error.pos + 1})")
    except ValueError as error:  # an integer of more digits than Python parses
        return UnreadableRow(f"line {number} is not JSON ({str(error)[:100]})")
    if not isinstance(row, dict):
        return UnreadableRow(f"line {number} is a {type(row).__name__}, not an object with columns")
    return row
