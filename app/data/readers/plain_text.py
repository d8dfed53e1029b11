"""Plain text: paragraphs, lines or the whole of it, as `text`."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from app.data.text_lines import MOST_ROW, Bad, decoded, lines, opened
from app.setup.spec import Source

SUFFIXES = (".txt", ".md")
Told = Iterator[tuple[int, str | Bad]]


def read(path: Path, source: Source) -> Iterator[dict[str, str] | Bad]:
    with opened(path, source.encoding) as file:
        told = ((number, line if isinstance(line, Bad) else decoded(line, number, start)) for number, start, line in lines(file))  # fmt: skip
        parts = (line for _, line in told) if source.parts == "lines" else joined(told, source.parts == "whole")
        for part in parts:
            if isinstance(part, Bad):
                yield part
            elif part.strip():
                yield {"text": part.strip()}


def joined(told: Told, whole: bool) -> Iterator[str | Bad]:
    """Lines up to a blank one, or all of them. What holds a line that cannot be read is left out as one."""
    held: list[str] = []
    bad: Bad | None = None
    first, size = 1, 0
    for number, line in told:
        if isinstance(line, Bad):
            bad = bad or line
        elif line.strip() or whole:
            first = first if held else number
            size += len(line)
            if size <= MOST_ROW:
                held.append(line.replace("\r\n", "\n"))
            else:
                bad, held = bad or too_long(first, whole), []
        else:
            yield bad or "".join(held)
            held, bad, size = [], None, 0
    yield bad or "".join(held)


def too_long(first: int, whole: bool) -> Bad:
    advice = "; read it in paragraphs or lines" if whole else ""
    return Bad(f"the text from line {first} on is longer than {MOST_ROW // 1_000_000} MB{advice}", "long")
