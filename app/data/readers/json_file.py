"""JSON: an array of objects, or one object that holds such an array; read piece by piece, so that it may be large."""

from __future__ import annotations

import io
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from app.data.readers import json_lines
from app.data.readers.json_lines import too_deep
from app.data.text_lines import MOST_ROW, Bad, Broken, first_bad_byte, opened
from app.setup.spec import Source

SUFFIXES = (".json",)
CHUNK = 1 << 16
NO_LIST = "it is not a list of objects, nor an object that holds one"
SPACE = re.compile(r"\s*")
ESCAPED = re.compile(r"\\u[dD][89a-fA-F]")  # half of a character, or the first of two halves
DECODER = json.JSONDecoder()


class Text:
    """The part of a file's text that is not read yet. left: what is held; here: a place in it; before: characters before it."""

    def __init__(self, file: io.TextIOBase):
        self.file, self.left, self.here, self.before = file, "", 0, 0

    @property
    def at(self) -> int:
        """Characters before what comes next."""
        return self.before + self.here

    def more(self) -> bool:
        """Twice as much is held; False at the end. Raises ValueError where one piece is longer than a row may be."""
        self.left, self.before, self.here = self.left[self.here :], self.at, 0
        if len(self.left) > MOST_ROW:
            raise ValueError(f"what begins at character {self.at} is longer than {MOST_ROW // 1_000_000} MB")
        read = self.file.read(max(CHUNK, len(self.left)))
        self.left += read
        return bool(read)

    def peek(self) -> str:
        """The next character that is no space; empty at the end."""
        while True:
            self.here = SPACE.match(self.left, self.here).end()  # type: ignore[union-attr]
            if self.here < len(self.left) or not self.more():
                return self.left[self.here : self.here + 1]

    def take(self, expected: str) -> str:
        found = self.peek()
        if not found:
            raise ValueError(f"it ends too early, at character {self.at}")
        if found not in expected:
            raise ValueError(f"“{found}” stands at character {self.at}, where “{'” or “'.join(expected)}” should be")
        self.here += 1
        return found

    def value(self) -> tuple[Any, str]:
        """The next value, and how it was written. Raises ValueError."""
        self.peek()
        while True:
            try:
                value, end = DECODER.raw_decode(self.left, self.here)
                if end < len(self.left) or not self.more():
                    break
            except json.JSONDecodeError as error:
                unfinished = "Unterminated" in error.msg or error.pos >= len(self.left) - 10
                place = self.before + error.pos
                if not (unfinished and self.more()):
                    raise ValueError(f"{error.msg} at character {place}") from error
            except RecursionError as error:
                raise ValueError(f"what begins at character {self.at} is nested too deeply") from error
        written, self.here = self.left[self.here : end], end
        return value, written


def read(path: Path, source: Source) -> Iterator[dict[str, Any] | Bad]:
    if is_lines(path, source):
        yield from json_lines.read(path, source)
        return
    with opened(path, source.encoding) as file, io.TextIOWrapper(file, encoding="utf-8", newline="") as text:
        try:
            yield from rows_of(Text(text))
        except UnicodeDecodeError as error:
            place = f" (byte {first_bad_byte(path)})" if path.suffix.lower() == ".json" else ""
            raise Broken(Bad(f"it is not text in UTF-8{place}", "encoding")) from error


def rows_of(text: Text) -> Iterator[dict[str, Any] | Bad]:
    begins = text.peek()
    if begins == "[":
        yield from array(text)
    elif begins == "{":
        yield from inside(text)
    elif begins:
        raise ValueError(NO_LIST)
    if text.peek():
        raise ValueError(f"something follows the end of its list, at character {text.at}")


def is_lines(path: Path, source: Source) -> bool:
    """Many call JSON lines .json: two lines that are an object each."""
    with opened(path, source.encoding) as file:
        heads = [line for line in (file.readline(CHUNK) for _ in range(20)) if not line.isspace()][:2]
    return len(heads) == 2 and all(isinstance(json_lines.row_of(head, 1, 0), dict) for head in heads)


def array(text: Text) -> Iterator[dict[str, Any] | Bad]:
    text.take("[")
    number = 0
    while text.peek() != "]" or number:
        number += 1
        begins = text.at
        value, written = text.value()
        yield checked(value, written, number, begins)
        if text.take(",]") == "]":
            return
    text.take("]")


def checked(value: Any, written: str, number: int, begins: int) -> dict[str, Any] | Bad:
    place = f"row {number} (character {begins})"
    if not isinstance(value, dict):
        return Bad(f"{NO_LIST}: {place} is a {type(value).__name__}")
    if too_deep(written, value):
        return Bad(f"{place} is nested too deeply")
    if ESCAPED.search(written):
        try:
            json.dumps(value, ensure_ascii=False).encode()
        except UnicodeEncodeError:
            return Bad(f"{place} holds half of a character")
    return value


def inside(text: Text) -> Iterator[dict[str, Any] | Bad]:
    """The one list of objects among an object's values."""
    text.take("{")
    found = ""
    while text.peek() != "}":
        name, _ = text.value()
        text.take(":")
        if text.peek() == "[" and is_of_objects(text):
            if found:
                raise ValueError(f"it holds two lists of rows, “{found[:40]}” and “{str(name)[:40]}”; keep one in it")
            found = str(name)
            yield from array(text)
        else:
            text.value()
        if text.take(",}") == "}":
            break
    else:
        text.take("}")
    if not found:
        raise ValueError(NO_LIST)


def is_of_objects(text: Text) -> bool:
    """Whether the list that begins here begins with an object."""
    while len(text.left) - text.here < CHUNK and text.more():
        pass
    return text.left[text.here + 1 : text.here + CHUNK].lstrip()[:1] == "{"
