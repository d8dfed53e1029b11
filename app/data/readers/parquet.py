"""Parquet: tables with types, in groups of rows."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from app.data.text_lines import Bad
from app.setup.spec import Source

SUFFIXES = (".parquet",)
AT_ONCE = 16_000_000  # bytes of rows that are unpacked together, as far as the first ones tell
MOST_AT_ONCE = 256  # rows


def read(path: Path, source: Source) -> Iterator[dict[str, Any] | Bad]:
    import pyarrow
    from pyarrow import parquet

    try:
        file = parquet.ParquetFile(path, memory_map=False)
    except (pyarrow.ArrowException, OSError) as error:
        raise ValueError(f"it is not whole ({told(error)})") from error
    number = 0
    with file:
        for group in range(file.num_row_groups):
            begun, size = number, file.metadata.row_group(group).num_rows
            try:
                for rows in batches(file, group, size):
                    number += len(rows)
                    yield from rows
            except MemoryError:
                raise
            except (pyarrow.ArrowException, OSError, UnicodeDecodeError) as error:
                for lost in range(number, begun + size):
                    yield Bad(f"row {lost + 1} lies in a damaged part ({told(error)})")
            number = begun + size


def batches(file: Any, group: int, size: int) -> Iterator[list[dict[str, Any]]]:
    """So many rows at once as fit, by the first ones: a small file may hold long rows."""
    first = next(file.iter_batches(batch_size=1, row_groups=[group]), None) if size else None
    if first is not None:
        count = max(1, min(MOST_AT_ONCE, AT_ONCE // max(1, first.nbytes)))
        yield from (batch.to_pylist() for batch in file.iter_batches(batch_size=count, row_groups=[group]))


def count(path: Path) -> int:
    """Rows, as the file says itself."""
    from pyarrow import parquet

    return parquet.ParquetFile(path).metadata.num_rows


def told(error: Exception) -> str:
    return " ".join(str(error).split())[:150].rstrip(".")
