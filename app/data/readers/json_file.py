"""Reader of JSON files: an array of objects, or an object with such an array, parsed incrementally."""

from __future__ import annotations

import io
import json
import re
from collections.abc import Iterator
from pathlib import Path

from app.core.json_types import JsonValue
from app.data.fields import Row
from app.data.readers import json_lines
from app.data.readers.json_lines import is_too_deep
from app.data.text_lines import MAX_ROW_BYTES, UnreadableFile, UnreadableRow, first_invalid_byte, open_utf8
from app.setup.spec import Source

SUFFIXES = (".json",)
CHUNK_LENGTH = 1 << 16  # characters
_NOT_A_LIST = "it is not a list of objects, nor an object that holds one"
_NOT_WHITESPACE = re.compile(r"\S")
_SURROGATE_ESCAPE = re.compile(r"\\u[dD][89a-fA-F]")  # the first half of a surrogate pair, perhaps without the second
_DECODER = json.JSONDecoder()


class _JsonScanner:
    """A scanner over the text of a JSON file.

    buffer: the part of the text in memory. offset: the current position in it. num_discarded: characters before the
    buffer.
    """

    def __init__(self, file: io.TextIOBase):
        self.file, self.buffer, self.offset, self.num_discarded = file, "", 0, 0

    @property
    def position(self) -> int:
        """The current position in the file, in characters."""
        return self.num_discarded + self.offset

    def fill_buffer(self) -> bool:
        """Reads more text, so that the buffer doubles; False at the end of the file.

        Raises ValueError for a value over the size limit.
        """
        self.buffer, self.num_discarded, self.offset = self.buffer[self.offset :], self.position, 0
        if len(self.buffer) > MAX_ROW_BYTES:
            raise ValueError(f"what begins at character {self.position} is longer than {MAX_ROW_BYTES // 1_000_000} MB")
        chunk = self.file.read(max(CHUNK_LENGTH, len(self.buffer)))
        self.buffer += chunk
        return bool(chunk)

    def peek_character(self) -> str:
        """The next character that is not white space; empty at the end of the file."""
        while True:
            character = _NOT_WHITESPACE.search(self.buffer, self.offset)
            self.offset = character.start() if character else len(self.buffer)
            if self.offset < len(self.buffer) or not self.fill_buffer():
                return self.buffer[self.offset : self.offset + 1]

    def expect_character(self, expected: str) -> str:
        """Takes the next character, which must be one of `expected`. Raises ValueError."""
        character = self.peek_character()
        if not character:
            raise ValueError(f"it ends too early, at character {self.position}")
        if character not in expected:
            raise ValueError(
                f"“{character}” stands at character {self.position}, where “{'” or “'.join(expected)}” should be"
            )
        self.offset += 1
        return character

    def read_value(self) -> tuple[JsonValue, str]:
        """(the next JSON value, its source text). Raises ValueError."""
        self.peek_character()
        while True:
            try:
                value, end = _DECODER.raw_decode(self.buffer, self.offset)
                if end < len(self.buffer) or not self.fill_buffer():
                    break
            except json.JSONDecodeError as error:
                is_unfinished = "Unterminated" in error.msg or error.pos >= len(self.buffer) - 10
                error_position = self.num_discarded + error.pos
                if not (is_unfinished and self.fill_buffer()):
                    raise ValueError(f"{error.msg} at character {error_position}") from error
            except RecursionError as error:
                raise ValueError(f"what begins at character {self.position} is nested too deeply") from error
        source_text, self.offset = self.buffer[self.offset : end], end
        return value, source_text


def read(path: Path, source: Source) -> Iterator[Row | UnreadableRow]:
    """The rows of a file. Raises ValueError, or UnreadableFile for a wrong encoding."""
    if _is_json_lines(path, source):
        yield from json_lines.read(path, source)
        return
    with open_utf8(path, source.encoding) as file, io.TextIOWrapper(file, encoding="utf-8", newline="") as text:
        try:
            yield from _read_document(_JsonScanner(text))
        except UnicodeDecodeError as error:
            location = f" (byte {first_invalid_byte(path)})" if path.suffix.lower() == ".json" else ""
            raise UnreadableFile(UnreadableRow(f"it is not text in UTF-8{location}", "encoding")) from error


def _read_document(scanner: _JsonScanner) -> Iterator[Row | UnreadableRow]:
    """The rows of an array, or of an object that holds one. Raises ValueError."""
    first_character = scanner.peek_character()
    if first_character == "[":
        yield from _read_array(scanner)
    elif first_character == "{":
        yield from _read_object(scanner)
    elif first_character:
        raise ValueError(_NOT_A_LIST)
    if scanner.peek_character():
        raise ValueError(f"something follows the end of its list, at character {scanner.position}")


def _is_json_lines(path: Path, source: Source) -> bool:
    """Whether a .json file holds JSON lines: its first two lines are an object each."""
    with open_utf8(path, source.encoding) as file:
        first_lines = [line for line in (file.readline(CHUNK_LENGTH) for _ in range(20)) if not line.isspace()][:2]
    return len(first_lines) == 2 and all(isinstance(json_lines.parse_row(line, 1, 0), dict) for line in first_lines)


def _read_array(scanner: _JsonScanner) -> Iterator[Row | UnreadableRow]:
    """The rows of the array at the current position. Raises ValueError."""
    scanner.expect_character("[")
    number = 0
    while scanner.peek_character() != "]" or number:
        number += 1
        position = scanner.position
        value, source_text = scanner.read_value()
        yield _validate_row(value, source_text, number, position)
        if scanner.expect_character(",]") == "]":
            return
    scanner.expect_character("]")


def _validate_row(row: JsonValue, source_text: str, number: int, position: int) -> Row | UnreadableRow:
    """The row if it is an object that can be used. number: from 1. position: its first character."""
    location = f"row {number} (character {position})"
    if not isinstance(row, dict):
        return UnreadableRow(f"{_NOT_A_LIST}: {location} is a {type(row).__name__}")
    if is_too_deep(source_text, row):
        return UnreadableRow(f"{location} is nested too deeply")
    if _SURROGATE_ESCAPE.search(source_text):
        try:
            json.dumps(row, ensure_ascii=False).encode()
        except UnicodeEncodeError:
            return UnreadableRow(f"{location} holds half of a character")
    return row


def _read_object(scanner: _JsonScanner) -> Iterator[Row | UnreadableRow]:
    """The rows of an object, in its only list of objects. Raises ValueError for none or several."""
    scanner.expect_character("{")
    rows_name = ""
    while scanner.peek_character() != "}":
        name, _ = scanner.read_value()
        scanner.expect_character(":")
        if scanner.peek_character() == "[" and _is_array_of_objects(scanner):
            if rows_name:
                raise ValueError(
                    f"it holds two lists of rows, “{rows_name[:40]}” and “{str(name)[:40]}”; keep one in it"
                )
            rows_name = str(name)
            yield from _read_array(scanner)
        else:
            scanner.read_value()
        if scanner.expect_character(",}") == "}":
            break
    else:
        scanner.expect_character("}")
    if not rows_name:
        raise ValueError(_NOT_A_LIST)


def _is_array_of_objects(scanner: _JsonScanner) -> bool:
    """Whether the list at the current position begins with an object."""
    while len(scanner.buffer) - scanner.offset < CHUNK_LENGTH and scanner.fill_buffer():
        pass
    return scanner.buffer[scanner.offset + 1 : scanner.offset + CHUNK_LENGTH].lstrip()[:1] == "{"
