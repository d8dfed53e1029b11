"""Reader of Parquet tables; a damaged row group does not end the reading."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from app.data.fields import Row
from app.data.reading.text_lines import UnreadableRow
from app.setup.spec import Source

if TYPE_CHECKING:
    from pyarrow import parquet

SUFFIXES = (".parquet",)
_MAX_BATCH_BYTES = 16_000_000  # of rows decoded together, estimated by the first row
MAX_BATCH_ROWS = 256


def read(path: Path, source: Source) -> Iterator[Row | UnreadableRow]:
    """The rows of a table, with an UnreadableRow for each row of a damaged group. Raises ValueError."""
    import pyarrow
    from pyarrow import parquet

    try:
        file = parquet.ParquetFile(path, memory_map=False)
    except (pyarrow.ArrowException, OSError) as error:
        raise ValueError(f"it is not whole ({short_error_text(error)})") from error
    number = 0
    with file:
        for group in range(file.num_row_groups):
            first_row, num_rows = number, file.metadata.row_group(group).num_rows
            try:
                for rows in _read_batches(file, group, num_rows):
                    number += len(rows)
                    yield from rows
            except MemoryError:
                raise
            except (pyarrow.ArrowException, OSError, UnicodeDecodeError) as error:
                for row_index in range(number, first_row + num_rows):
                    yield UnreadableRow(f"row {row_index + 1} lies in a damaged part ({short_error_text(error)})")
            number = first_row + num_rows


def _read_batches(file: parquet.ParquetFile, group: int, num_rows: int) -> Iterator[list[Row]]:
    """The rows of a row group in batches of limited size: a small file may hold very long rows."""
    first_batch = next(file.iter_batches(batch_size=1, row_groups=[group]), None) if num_rows else None
    if first_batch is not None:
        batch_size = max(1, min(MAX_BATCH_ROWS, _MAX_BATCH_BYTES // max(1, first_batch.nbytes)))
        yield from (batch.to_pylist() for batch in file.iter_batches(batch_size=batch_size, row_groups=[group]))


def count(path: Path) -> int:
    """The number of rows, by the metadata of the file."""
    from pyarrow import parquet

    return parquet.ParquetFile(path).metadata.num_rows


def short_error_text(error: Exception) -> str:
    """An error message on one line, without a full stop."""
    return " ".join(str(error).split())[:150].rstrip(".")
