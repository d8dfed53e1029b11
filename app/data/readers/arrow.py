"""Reader of Arrow tables, in the file format (Feather) and the stream format (cache of `datasets`)."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from app.data.fields import Row
from app.data.readers.parquet import MAX_BATCH_ROWS, short_error_text
from app.data.reading.text_lines import UnreadableRow
from app.setup.spec import Source

if TYPE_CHECKING:
    from pyarrow import RecordBatch, ipc

SUFFIXES = (".arrow", ".feather")
_FILE_MAGIC = b"ARROW1"  # first bytes of the file format; the stream format has none


def read(path: Path, source: Source) -> Iterator[Row | UnreadableRow]:
    """The rows of a table. Raises ValueError where the file is damaged."""
    import pyarrow
    from pyarrow import ipc

    number = 0
    try:
        with path.open("rb") as raw_file:
            is_file_format = raw_file.read(len(_FILE_MAGIC)) == _FILE_MAGIC
        with pyarrow.OSFile(str(path)) as file:
            for batch in _read_file_batches(ipc.open_file(file)) if is_file_format else ipc.open_stream(file):
                batch.validate(full=True)  # without it, invalid offsets would crash the process
                for start in range(0, batch.num_rows, MAX_BATCH_ROWS):
                    rows = batch.slice(start, MAX_BATCH_ROWS).to_pylist()
                    number += len(rows)
                    yield from rows
    except MemoryError:
        raise
    except (pyarrow.ArrowException, OSError, UnicodeDecodeError) as error:
        raise ValueError(f"it is not whole after row {number} ({short_error_text(error)})") from error


def _read_file_batches(reader: ipc.RecordBatchFileReader) -> Iterator[RecordBatch]:
    """The record batches of a file, one by one."""
    for batch_index in range(reader.num_record_batches):
        yield reader.get_batch(batch_index)
