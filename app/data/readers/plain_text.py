"""Reader of plain text: each paragraph, each line or the whole file becomes a row with a column `text`."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from app.data.reading.text_lines import MAX_ROW_BYTES, UnreadableRow, decode_line, open_utf8, read_lines
from app.setup.spec import Source

SUFFIXES = (".txt", ".md")
_NumberedLines = Iterator[tuple[int, str | UnreadableRow]]


def read(path: Path, source: Source) -> Iterator[dict[str, str] | UnreadableRow]:
    """The rows of a file, without blank ones."""
    with open_utf8(path, source.encoding) as file:
        numbered_lines = (
            (number, line if isinstance(line, UnreadableRow) else decode_line(line, number, start))
            for number, start, line in read_lines(file)
        )
        lines = (line for _, line in numbered_lines)
        by_line = source.parts == "lines"
        for text in lines if by_line else _join_paragraphs(numbered_lines, source.parts == "whole"):
            if isinstance(text, UnreadableRow):
                yield text
            elif text.strip():
                yield {"text": text.strip()}


def _join_paragraphs(numbered_lines: _NumberedLines, is_whole_file: bool) -> Iterator[str | UnreadableRow]:
    """The paragraphs, or the whole file, as texts. One with an unreadable line becomes an UnreadableRow as a whole."""
    paragraph_lines: list[str] = []
    unreadable: UnreadableRow | None = None
    first_line, num_characters = 1, 0
    for number, line in numbered_lines:
        if isinstance(line, UnreadableRow):
            unreadable = unreadable or line
        elif line.strip() or is_whole_file:
            first_line = first_line if paragraph_lines else number
            num_characters += len(line)
            if num_characters <= MAX_ROW_BYTES:
                paragraph_lines.append(line.replace("\r\n", "\n"))
            else:
                unreadable, paragraph_lines = unreadable or _too_long_row(first_line, is_whole_file), []
        else:
            yield unreadable or "".join(paragraph_lines)
            paragraph_lines, unreadable, num_characters = [], None, 0
    yield unreadable or "".join(paragraph_lines)


def _too_long_row(first_line: int, is_whole_file: bool) -> UnreadableRow:
    """The UnreadableRow of a paragraph, or a file, over the size limit."""
    advice = "; read it in paragraphs or lines" if is_whole_file else ""
    return UnreadableRow(
        f"the text from line {first_line} on is longer than {MAX_ROW_BYTES // 1_000_000} MB{advice}", "long"
    )
