"""Reader of JSON lines: one object with columns on each line."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import orjson

from app.data.fields import Cell, Row
from app.data.text_lines import UnreadableRow, decode_line, open_utf8, read_lines
from app.setup.spec import Source

SUFFIXES = (".jsonl", ".ndjson")
_MAX_DEPTH = 100  # levels of nesting; later code is recursive
_DIGITS_TO_ZERO = bytes.maketrans(b"123456789", b"000000000")
_LONG_INTEGER = b"0" * 19  # integers of this length or more may be rounded by orjson


def read(path: Path, source: Source) -> Iterator[Row | UnreadableRow]:
    """The rows of a file; blank lines are skipped."""
    with open_utf8(path, source.encoding) as file:
        for number, start, line in read_lines(file):
            if isinstance(line, UnreadableRow):
                yield line
            elif not line.isspace():
                yield parse_row(line, number, start)


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


def is_too_deep(source_text: bytes | str, row: Row) -> bool:
    """Whether a row is nested too deeply. source_text: its JSON; counting brackets in it is faster than walking the
    row."""
    if isinstance(source_text, bytes):
        num_brackets = source_text.count(b"[") + source_text.count(b"{")
    else:
        num_brackets = source_text.count("[") + source_text.count("{")
    return num_brackets > _MAX_DEPTH and _nesting_depth(row) > _MAX_DEPTH


def _nesting_depth(row: Row) -> int:
    """The number of nested levels of lists and objects, counted up to MAX_DEPTH + 1, without recursion."""
    level: list[Cell] = [row]
    depth = 0
    while depth <= _MAX_DEPTH and (level := [container for container in level if isinstance(container, dict | list)]):
        depth += 1
        children = (container.values() if isinstance(container, dict) else container for container in level)
        level = [element for elements in children for element in elements]
    return depth
