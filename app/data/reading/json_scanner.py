"""Incremental scanning of JSON text in bounded memory, and the limits of what is read from it."""

from __future__ import annotations

import io
import json
import re
from collections.abc import Iterator

from app.core.json_types import JsonValue
from app.data.fields import Cell, Row
from app.data.reading.text_lines import MAX_ROW_BYTES

CHUNK_LENGTH = 1 << 16  # characters
MAX_DEPTH = 100  # levels of nesting; later code is recursive
_NOT_WHITESPACE = re.compile(r"\S")
_SURROGATE_ESCAPE = re.compile(r"\\u[dD][89a-fA-F]")  # the first half of a surrogate pair, perhaps without the second
_DECODER = json.JSONDecoder()


class JsonSyntaxError(ValueError):
    """Text that is not strict JSON; it may still be JSON5, with comments and surplus commas."""


class JsonScanner:
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
            raise JsonSyntaxError(f"it ends too early, at character {self.position}")
        if character not in expected:
            raise JsonSyntaxError(
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
                    raise JsonSyntaxError(f"{error.msg} at character {error_position}") from error
            except RecursionError as error:
                raise ValueError(f"what begins at character {self.position} is nested too deeply") from error
        source_text, self.offset = self.buffer[self.offset : end], end
        return value, source_text

    def array_values(self) -> Iterator[tuple[JsonValue, str, int]]:
        """(value, its source text, position of its first character) of each element of the array at the current
        position. Raises ValueError."""
        self.expect_character("[")
        is_first = True
        while self.peek_character() != "]" or not is_first:
            is_first = False
            position = self.position
            value, source_text = self.read_value()
            yield value, source_text, position
            if self.expect_character(",]") == "]":
                return
        self.expect_character("]")

    def member_names(self) -> Iterator[str]:
        """The name of each member of the object at the current position; the caller reads its value in between.

        Raises ValueError.
        """
        self.expect_character("{")
        is_first = True
        while self.peek_character() != "}" or not is_first:
            is_first = False
            name, _ = self.read_value()
            self.expect_character(":")
            self.peek_character()
            yield str(name)
            if self.expect_character(",}") == "}":
                return
        self.expect_character("}")

    def next_brackets(self) -> str:
        """The next two characters that are not white space, such as `[{` before an array of objects."""
        first = self.peek_character()
        while len(self.buffer) - self.offset < CHUNK_LENGTH and self.fill_buffer():
            pass
        return first + self.buffer[self.offset + 1 : self.offset + CHUNK_LENGTH].lstrip()[:1]


def has_half_character(source_text: str, row: Row) -> bool:
    """Whether a row holds half of a surrogate pair, which no tokenizer accepts. source_text: its JSON."""
    if not _SURROGATE_ESCAPE.search(source_text):
        return False
    try:
        json.dumps(row, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        return True
    return False


def is_too_deep(source_text: bytes | str, row: Row) -> bool:
    """Whether a row is nested too deeply. source_text: its JSON; counting brackets in it is faster than walking the
    row."""
    if isinstance(source_text, bytes):
        num_brackets = source_text.count(b"[") + source_text.count(b"{")
    else:
        num_brackets = source_text.count("[") + source_text.count("{")
    return num_brackets > MAX_DEPTH and _nesting_depth(row) > MAX_DEPTH


def _nesting_depth(row: Row) -> int:
    """The number of nested levels of lists and objects, counted up to MAX_DEPTH + 1, without recursion."""
    level: list[Cell] = [row]
    depth = 0
    while depth <= MAX_DEPTH and (level := [container for container in level if isinstance(container, dict | list)]):
        depth += 1
        children = (container.values() if isinstance(container, dict) else container for container in level)
        level = [element for elements in children for element in elements]
    return depth
