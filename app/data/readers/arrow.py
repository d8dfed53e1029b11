"""Arrow: tables as they lie in memory, in a file (Feather) or as a stream, such as `datasets` keeps."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from app.data.readers.parquet import MOST_AT_ONCE, told
from app.data.text_lines import Bad
from app.setup.spec import Source

SUFFIXES = (".arrow", ".feather")
FILE = b"ARROW1"  # how one begins that is no stream


def read(path: Path, source: Source) -> Iterator[dict[str, Any] | Bad]:
    import pyarrow
    from pyarrow import ipc

    number = 0
    try:
        with path.open("rb") as begun:
            whole = begun.read(len(FILE)) == FILE
        with pyarrow.OSFile(str(path)) as file:
            opened = ipc.open_file(file) if whole else ipc.open_stream(file)
            for batch in (opened.get_batch(i) for i in range(opened.num_record_batches)) if whole else opened:
                batch.validate(full=True)  # what lies about its own lengths would crash the process
                for start in range(0, batch.num_rows, MOST_AT_ONCE):
                    rows = batch.slice(start, MOST_AT_ONCE).to_pylist()
                    number += len(rows)
                    yield from rows
    except MemoryError:
        raise
    except (pyarrow.ArrowException, OSError, UnicodeDecodeError) as error:
        raise ValueError(f"it is not whole after row {number} ({told(error)})") from error
