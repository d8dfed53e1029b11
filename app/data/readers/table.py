"""Reader of CSV and TSV tables, with or without column names in the first line."""

from __future__ import annotations

import csv
import re
from collections import deque
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

from app.data.column_names import unique_column_names
from app.data.fields import Row
from app.data.reading.text_lines import (
    MAX_ROW_BYTES,
    FileNote,
    UnreadableFile,
    UnreadableRow,
    decode_line,
    open_utf8,
    read_lines,
)
from app.setup.spec import Source

SUFFIXES = (".csv", ".tsv")
_DELIMITERS = (",", "\t", ";", "|")
_DELIMITER_LINE = re.compile(r'"?sep=([^"\r\n])"?\s*', re.IGNORECASE)  # the first line of some programs' files
_SAMPLE_BYTES = 1 << 16  # in which the delimiter is detected
_NUM_SAMPLE_ROWS = 50  # of these, at most
csv.field_size_limit(2**31 - 1)  # the csv module's own limit is too small; MAX_ROW_BYTES limits rows instead


class _UnreadableLine(Exception):
    """A line that cannot be decoded, within a row."""

    def __init__(self, row: UnreadableRow):
        super().__init__(row.reason)
        self.row = row


class _LineFeed:
    """An iterator of decoded lines for the csv module, which can take back the lines that a malformed row has
    consumed."""

    def __init__(self, numbered_lines: Iterator[tuple[int, int, bytes | UnreadableRow]]):
        self.numbered_lines = numbered_lines
        self.pushed_back: deque[tuple[int, str]] = deque()
        self.begin_row()

    def begin_row(self) -> None:
        """Marks the beginning of a row."""
        self.row_lines: list[tuple[int, str]] = []
        self.size = 0

    def push_back_lines(self) -> None:
        """Takes back all lines of the current row but its first, so that they are parsed again as rows of their own."""
        self.pushed_back.extendleft(reversed(self.row_lines[1:]))

    def __iter__(self) -> _LineFeed:
        return self

    def __next__(self) -> str:
        number, line = self.pushed_back.popleft() if self.pushed_back else self._next_decoded_line()
        self.row_lines.append((number, line))
        self.size += len(line)
        if self.size > MAX_ROW_BYTES:
            raise csv.Error("unexpected end of the row")
        return line

    def _next_decoded_line(self) -> tuple[int, str]:
        """(number, text) of the next line of the file. Raises UnreadableLine, and StopIteration at the end."""
        number, start, line = next(self.numbered_lines)
        text = line if isinstance(line, UnreadableRow) else decode_line(line, number, start)
        if isinstance(text, UnreadableRow):
            raise _UnreadableLine(text)
        return number, text


def read(path: Path, source: Source) -> Iterator[Row | UnreadableRow | FileNote]:
    """The rows of a table. Raises UnreadableFile where the column names cannot be read."""
    with open_utf8(path, source.encoding) as file:
        delimiter, is_declared = _detect_delimiter(path, source)
        numbered_lines = read_lines(file)
        if is_declared:
            next(numbered_lines)
            yield FileNote(f"The first line says how cells are separated (“sep={delimiter}”), and is no row.")
        feed = _LineFeed(numbered_lines)
        cells = _read_cells(feed, delimiter)
        first_cells = next(cells, None)
        if isinstance(first_cells, UnreadableRow):
            raise UnreadableFile(first_cells)  # without column names, no row can be read
        if first_cells is None:
            return
        if source.headless:
            names = [f"column_{number}" for number in range(1, len(first_cells) + 1)]
            yield _cells_to_row(first_cells, names, 1)
        else:
            names = unique_column_names(first_cells)
        for row in cells:
            yield row if isinstance(row, UnreadableRow) else _cells_to_row(row, names, feed.row_lines[0][0])


def _read_cells(feed: _LineFeed, delimiter: str) -> Iterator[list[str] | UnreadableRow]:
    """The cells of each row. After a malformed row, reading continues at its second line."""
    # strict: otherwise a stray quote consumes the lines after it without an error
    reader = csv.reader(feed, delimiter=delimiter, strict=True)
    while True:
        feed.begin_row()
        try:
            if row := next(reader):
                yield row
        except StopIteration:
            return
        except _UnreadableLine as error:
            yield error.row
        except csv.Error as error:
            feed.push_back_lines()
            yield UnreadableRow(_csv_error_text(error, feed.row_lines[0][0]))


def _cells_to_row(cells: list[str], names: list[str], line: int) -> Row | UnreadableRow:
    """The row of these cells; missing cells at its end are null. A row with too many cells is unreadable."""
    if len(cells) > len(names) and any(cell.strip() for cell in cells[len(names) :]):
        return UnreadableRow(
            f"the row of line {line} has {len(cells)} cells, and there are {len(names)} columns; "
            "a text with a delimiter in it stands in quotes"
        )
    return dict(zip(names, [*cells[: len(names)], *[None] * (len(names) - len(cells))], strict=True))


def _csv_error_text(error: csv.Error, line: int) -> str:
    """The reason of an error of the csv module, in plain words."""
    if "unexpected end" in str(error):
        return f"a quote in the row of line {line} is not closed"
    if "expected after" in str(error):
        return f"in the row of line {line} text follows a closed quote; a quote within a text is written twice"
    if "new-line character" in str(error):
        return f"line {line} holds a line break of old Macs; save the table again"
    return f"the row of line {line}: {error}"


def _detect_delimiter(path: Path, source: Source) -> tuple[str, bool]:
    """(delimiter, whether the first line declares it, as Excel reads it).

    Else it is the one that splits the first rows most evenly, then into most cells; by default a comma, or a tab for
    .tsv.
    """
    default_delimiter = "\t" if ".tsv" in path.name.lower() else ","
    with open_utf8(path, source.encoding) as file:
        sample = file.read(_SAMPLE_BYTES).decode(errors="replace").splitlines(keepends=True)
    declaration = _DELIMITER_LINE.fullmatch(sample[0]) if sample else None
    if declaration:
        return declaration[1], True
    sample = sample[:-1] if len(sample) > 1 else sample
    consistencies: dict[str, tuple[float, int]] = {}
    for delimiter in _DELIMITERS:
        if consistency := _column_consistency(sample, delimiter):
            consistencies[delimiter] = consistency
    best = max(consistencies.values(), default=None)
    if best is None or consistencies.get(default_delimiter) == best:
        return default_delimiter, False
    return next(delimiter for delimiter in consistencies if consistencies[delimiter] == best), False


def _column_consistency(sample: list[str], delimiter: str) -> tuple[float, int] | None:
    """(share of rows with as many cells as the first row, that number of cells); None where the first row has one
    cell."""
    try:
        rows = [row for row in islice(csv.reader(sample, delimiter=delimiter), _NUM_SAMPLE_ROWS) if row]
    except csv.Error:
        return None
    if not rows or len(rows[0]) < 2:
        return None
    return round(sum(len(row) == len(rows[0]) for row in rows) / len(rows), 1), len(rows[0])
