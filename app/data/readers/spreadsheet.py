"""Reader of Excel workbooks: the first sheet that has rows, with the values that were last computed."""

from __future__ import annotations

import datetime
import zipfile
from collections.abc import Iterator
from itertools import chain, islice
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

from app.core.problems import shorten
from app.data.column_names import unique_column_names
from app.data.fields import Row
from app.data.reading.text_lines import MAX_ROW_BYTES, FileNote, UnreadableRow
from app.setup.spec import Source

if TYPE_CHECKING:
    from openpyxl import Workbook

SUFFIXES = (".xlsx",)
_MAX_UNPACKED_BYTES = 100_000_000  # its texts are held in memory together
_MAX_COLUMNS = 1_000
_SheetRow: TypeAlias = tuple[object, ...]


def read(path: Path, source: Source) -> Iterator[Row | UnreadableRow | FileNote]:
    """The rows of a workbook. Raises ValueError where it is damaged, locked or too large."""
    _require_bounded_size(path)
    workbook = _open_workbook(path)
    try:
        yield from _read_first_table(workbook, source)
    except (ValueError, OSError, MemoryError):
        raise
    except Exception as error:  # boundary: a person's file; the library raises whatever its parts raise
        raise ValueError(f"it is damaged ({shorten(str(error), 150)})") from error
    finally:
        workbook.close()


def _require_bounded_size(path: Path) -> None:
    """Raises ValueError for a file that is no archive, or would unpack to too much: zipfile never reads more of a
    member than its declared size."""
    try:
        with zipfile.ZipFile(path) as archive:
            size = sum(member.file_size for member in archive.infolist())
    except zipfile.BadZipFile as error:
        raise ValueError("it is no Excel workbook, or is cut short") from error
    if size > _MAX_UNPACKED_BYTES:
        limit = f"{_MAX_UNPACKED_BYTES // 1_000_000} MB"
        raise ValueError(f"it unpacks to {size / 1_000_000:,.0f} MB, over the limit of {limit}; save it as CSV UTF-8")


def _open_workbook(path: Path) -> Workbook:
    """The workbook, read row by row. Raises ValueError where it cannot be opened."""
    import openpyxl  # it parses XML with defusedxml, which refuses entities that grow

    try:
        return openpyxl.load_workbook(path, read_only=True, data_only=True, keep_links=False)
    except MemoryError:
        raise
    except Exception as error:  # boundary: a person's file; the library raises whatever its parts raise
        raise ValueError(f"it is no Excel workbook, or is damaged ({shorten(str(error), 150)})") from error


def _read_first_table(workbook: Workbook, source: Source) -> Iterator[Row | UnreadableRow | FileNote]:
    """The rows of the first visible sheet that has any, below the row of their column names."""
    sheets = [sheet for sheet in workbook.worksheets if sheet.sheet_state == "visible"] or workbook.worksheets
    for sheet in sheets:
        sheet.reset_dimensions()  # what a file says of its size may be wrong
        rows = (
            cells for cells in sheet.iter_rows(values_only=True, max_col=_MAX_COLUMNS) if any(map(_has_content, cells))
        )
        first_rows = [*islice(rows, 2)]
        if len(first_rows) > (0 if source.headless else 1):
            if len(workbook.worksheets) > 1:
                title = shorten(sheet.title, 60)
                yield FileNote(f"Of its {len(workbook.worksheets)} sheets, “{title}” is read: the first that has rows.")
            yield from _name_cells(chain(first_rows, rows), source)
            return


def _has_content(cell: object) -> bool:
    """Whether a cell holds anything but white space."""
    return cell is not None and bool(str(cell).strip())


def _name_cells(rows: Iterator[_SheetRow], source: Source) -> Iterator[Row | UnreadableRow]:
    """The rows of a sheet by its column names; a column without a name is left out where its cell is empty."""
    headers = [] if source.headless else [str(_as_json(header) or "") for header in next(rows)]
    for number, cells in enumerate(rows, 1 if source.headless else 2):
        headers += [""] * (len(cells) - len(headers))
        padded_cells = (*cells, *[None] * (len(headers) - len(cells)))
        columns = zip(headers, unique_column_names(headers), padded_cells, strict=True)
        row = {name: _as_json(cell) for header, name, cell in columns if header.strip() or _has_content(cell)}
        size = sum(len(cell) for cell in row.values() if isinstance(cell, str))
        yield row if size <= MAX_ROW_BYTES else UnreadableRow(f"row {number} is too long", "long")


def _as_json(cell: object) -> str | int | float | bool | None:
    """The value of a cell; dates and times as text, dates without a time of midnight."""
    if isinstance(cell, datetime.datetime):
        is_date = cell.time() == datetime.time()
        return cell.date().isoformat() if is_date else cell.isoformat(sep=" ", timespec="seconds")
    return cell if cell is None or isinstance(cell, str | int | float | bool) else str(cell)
