"""Tables: CSV and TSV, with the names of the columns in the first line or without."""

from __future__ import annotations

import csv
from collections import Counter, deque
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

from app.data.text_lines import MOST_ROW, Bad, Broken, decoded, lines, opened
from app.setup.spec import Source

SUFFIXES = (".csv", ".tsv")
DELIMITERS = (",", "\t", ";", "|")
SAMPLE = 1 << 16  # bytes in which the delimiter shows
LOOKED_AT = 50  # rows of it
csv.field_size_limit(2**31 - 1)  # rows have a limit of their own


class Unreadable(Exception):
    """A line that is no text, met in the middle of a row."""

    def __init__(self, bad: Bad):
        super().__init__(bad.why)
        self.bad = bad


class Feed:
    """Gives the csv module lines, and takes back those that a broken row has swallowed."""

    def __init__(self, source: Iterator[tuple[int, int, bytes | Bad]]):
        self.source = source
        self.back: deque[tuple[int, str]] = deque()
        self.begin()

    def begin(self) -> None:
        """A row begins."""
        self.taken: list[tuple[int, str]] = []
        self.size = 0

    def give_back(self) -> None:
        """All lines of the row but its first."""
        self.back.extendleft(reversed(self.taken[1:]))

    def __iter__(self) -> Feed:
        return self

    def __next__(self) -> str:
        number, line = self.back.popleft() if self.back else self.fresh()
        self.taken.append((number, line))
        self.size += len(line)
        if self.size > MOST_ROW:
            raise csv.Error("unexpected end of the row")
        return line

    def fresh(self) -> tuple[int, str]:
        number, start, line = next(self.source)
        text = line if isinstance(line, Bad) else decoded(line, number, start)
        if isinstance(text, Bad):
            raise Unreadable(text)
        return number, text


def read(path: Path, source: Source) -> Iterator[dict[str, Any] | Bad]:
    with opened(path, source.encoding) as file:
        delimiter = delimiter_of(path, source)
        feed = Feed(lines(file))
        cells = rows_of(feed, delimiter)
        first = next(cells, None)
        if isinstance(first, Bad):
            raise Broken(first)  # without the names of the columns nothing can be read
        if first is None:
            return
        if source.headless:
            yield named(first, names := [f"column_{number}" for number in range(1, len(first) + 1)], 1)
        else:
            names = unique(first)
        for row in cells:
            yield row if isinstance(row, Bad) else named(row, names, feed.taken[0][0])


def rows_of(feed: Feed, delimiter: str) -> Iterator[list[str] | Bad]:
    # strict: otherwise a stray quote swallows the lines that follow it, and says nothing
    reader = csv.reader(feed, delimiter=delimiter, strict=True)
    while True:
        feed.begin()
        try:
            if row := next(reader):
                yield row
        except StopIteration:
            return
        except Unreadable as error:
            yield error.bad
        except csv.Error as error:
            feed.give_back()
            yield Bad(said_of(error, feed.taken[0][0]))


def named(cells: list[str], names: list[str], line: int) -> dict[str, Any] | Bad:
    """A short row lacks its last columns; one with more cells than names has a delimiter within a text."""
    if len(cells) > len(names) and any(cell.strip() for cell in cells[len(names) :]):
        return Bad(f"the row of line {line} has {len(cells)} cells, and there are {len(names)} columns; "
                   "a text with a delimiter in it stands in quotes")  # fmt: skip
    return dict(zip(names, [*cells[: len(names)], *[None] * (len(names) - len(cells))], strict=True))


def unique(heads: list[str]) -> list[str]:
    """Names of columns: those that repeat or are empty get a number."""
    seen: Counter[str] = Counter()
    names = []
    for number, head in enumerate(heads, 1):
        name = head.strip() or f"column_{number}"
        seen[name] += 1
        names.append(name if seen[name] == 1 else f"{name}_{seen[name]}")
    return names


def said_of(error: csv.Error, line: int) -> str:
    """Python's words for what is wrong with a table, in ours."""
    if "unexpected end" in str(error):
        return f"a quote in the row of line {line} is not closed"
    if "expected after" in str(error):
        return f"in the row of line {line} text follows a closed quote; a quote within a text is written twice"
    if "new-line character" in str(error):
        return f"line {line} holds a line break of old Macs; save the table again"
    return f"the row of line {line}: {error}"


def delimiter_of(path: Path, source: Source) -> str:
    """The one that cuts the first rows into equally many cells, most of them; a comma, or a tab in a .tsv, where none does."""
    usual = "\t" if ".tsv" in path.name.lower() else ","
    with opened(path, source.encoding) as file:
        sample = file.read(SAMPLE).decode(errors="replace").splitlines(keepends=True)
    sample = sample[:-1] if len(sample) > 1 else sample
    found = {one: even for one in DELIMITERS if (even := evenness(sample, one))}
    best = max(found.values(), default=(0.0, 0))
    return usual if found.get(usual) == best or not found else next(one for one in found if found[one] == best)


def evenness(sample: list[str], delimiter: str) -> tuple[float, int] | None:
    """(share of rows with as many cells as the first, how many); None where the first is one cell."""
    try:
        rows = [row for row in islice(csv.reader(sample, delimiter=delimiter), LOOKED_AT) if row]
    except csv.Error:
        return None
    if not rows or len(rows[0]) < 2:
        return None
    return round(sum(len(row) == len(rows[0]) for row in rows) / len(rows), 1), len(rows[0])
