"""JSON lines: an object with columns on each line."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orjson

from app.data.text_lines import Bad, decoded, lines, opened
from app.setup.spec import Source

SUFFIXES = (".jsonl", ".ndjson")
DEEPEST = 100  # what reads rows later goes down level by level
DIGITS = bytes.maketrans(b"123456789", b"000000000")
HUGE = b"0" * 19  # digits, of which orjson would round some


def read(path: Path, source: Source) -> Iterator[dict[str, Any] | Bad]:
    with opened(path, source.encoding) as file:
        for number, start, line in lines(file):
            if isinstance(line, Bad):
                yield line
            elif not line.isspace():
                yield row_of(line, number, start)


def row_of(line: bytes, number: int, start: int) -> dict[str, Any] | Bad:
    try:
        row = None if HUGE in line.translate(DIGITS) else orjson.loads(line)
    except orjson.JSONDecodeError:
        row = None
    if not isinstance(row, dict):
        row = slowly(line, number, start)
    if isinstance(row, dict) and too_deep(line, row):
        return Bad(f"line {number} is nested too deeply")
    return row


def slowly(line: bytes, number: int, start: int) -> dict[str, Any] | Bad:
    """By Python's own reader, which takes NaN and numbers of any length, and says what is wrong."""
    text = decoded(line, number, start)
    if isinstance(text, Bad):
        return text
    try:
        row = json.loads(text)
        json.dumps(
            row, ensure_ascii=False
        ).encode()  # JSON's escapes can say half of a character, and no tokenizer takes it
    except UnicodeEncodeError:
        return Bad(f"line {number} holds half of a character")
    except RecursionError:
        return Bad(f"line {number} is nested too deeply")
    except json.JSONDecodeError as error:
        return Bad(f"line {number} is not JSON ({error.msg} at its character {error.pos + 1})")
    except ValueError as error:  # a number of more digits than Python reads
        return Bad(f"line {number} is not JSON ({str(error)[:100]})")
    return row if isinstance(row, dict) else Bad(f"line {number} is a {type(row).__name__}, not an object with columns")


def too_deep(line: bytes | str, row: Any) -> bool:
    brackets = (b"[", b"{") if isinstance(line, bytes) else ("[", "{")
    return sum(line.count(one) for one in brackets) > DEEPEST and depth(row) > DEEPEST


def depth(value: Any) -> int:
    """Levels of lists and objects within one another; no further than is too deep."""
    level, count = [value], 0
    while count <= DEEPEST and (level := [one for one in level if isinstance(one, dict | list)]):
        count += 1
        level = [inner for one in level for inner in (one.values() if isinstance(one, dict) else one)]
    return count
