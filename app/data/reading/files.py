"""Files of a source: their paths, and their rows one by one. No heavy imports, because the server process uses it."""

from __future__ import annotations

import hashlib
import os
import zlib
from collections.abc import Iterator
from functools import cache
from itertools import islice
from pathlib import Path
from types import ModuleType
from typing import TypeAlias

from app.core import paths, registry
from app.core.problems import Problem, shorten
from app.core.workspace import local_workspace
from app.data.fields import Row
from app.data.reading import hub_datasets
from app.data.reading.file_content import SAVE_AS_CSV_ADVICE, require_matching_content
from app.data.reading.text_lines import FileNote, UnreadableFile, UnreadableRow
from app.data.reading.unreadable_rows import UnreadableRows
from app.setup.spec import Source, Spec

NumberedRow: TypeAlias = tuple[int, Row]  # (number in its source, from 1; the row)

_MAX_HASHED_BYTES = 2_000_000_000  # of a file; a larger one takes seconds to read

GZIP_SUFFIX = ".gz"  # of text formats, which are decompressed while they are read


@cache
def readers_by_suffix() -> dict[str, ModuleType]:
    """{suffix: module that reads such files}, by the modules in app/data/readers."""
    modules = [registry.load_module("readers", name) for name in registry.names("readers")]
    return {suffix: module for module in modules for suffix in module.SUFFIXES}


_GZIPPABLE_SUFFIXES = (".jsonl", ".ndjson", ".json", ".csv", ".tsv", ".txt", ".md")
SUFFIXES = (
    ".jsonl",
    ".csv",
    ".xlsx",
    ".parquet",
    ".json",
    ".ndjson",
    ".tsv",
    ".txt",
    ".md",
    ".arrow",
    ".feather",
    ".zip",
    GZIP_SUFFIX,
)


def file_suffix(path: Path | str) -> str:
    """The suffix that says how a file is read: .csv for a.csv and for a.csv.gz."""
    stem, suffix = os.path.splitext(str(path).lower())
    inner = os.path.splitext(stem)[1]
    return inner if suffix == GZIP_SUFFIX and inner in _GZIPPABLE_SUFFIXES else suffix


def reader_for(path: Path) -> ModuleType:
    """The module in app/data/readers that reads this file."""
    return readers_by_suffix()[file_suffix(path)]


# -- paths -------------------------------------------------------------------------------------------------------------


def source_path(source: Source, split: str | None = None) -> Path | None:
    """The file of a source that is a sample, an upload or a path; None for a dataset on the Hub.

    Raises Problem where it is missing.
    """
    kind, _, name = source.source.partition(":")
    if kind == "hub":
        return None
    if kind == "sample":
        path = paths.ROOT / "presets" / "samples" / name / f"{split or source.split}.jsonl"
        sample_names = sorted(folder.name for folder in path.parent.parent.iterdir() if folder.is_dir())
        advice = (
            registry.suggest_name(name, sample_names)
            if name not in sample_names
            else "Its splits are train and holdout."
        )
    elif kind == "upload":
        path, advice = _find_upload(name), "Upload the file again."
    else:
        path, advice = Path(os.path.expanduser(name)), "Check the path."
    if not os.path.isfile(path):  # unlike pathlib's, it accepts any text, also one too long for a path
        raise Problem(
            f"The examples “{shorten(source.source, 200)}” are not there.", advice=advice, reason="data_not_found"
        )
    if file_suffix(path) not in readers_by_suffix():
        raise Problem(f"Files ending in “{path.suffix}” cannot be read.", advice=f"Use one of {', '.join(SUFFIXES)}.")
    return path


def local_files_of_spec(spec: Spec) -> dict[str, Path]:
    """{source: file} of everything on this machine that a spec reads, with its held-out split. Where two sources are splits
    of the same data, the second has its split behind its name. Raises Problem."""
    local_files: dict[str, Path] = {}
    for source in spec.sources:
        path = source_path(source)
        if path and local_files.setdefault(source.source, path) != path:
            local_files[f"{source.source} {source.split}"] = path
    split = spec.holdout.split
    holdout_path = source_path(spec.data[0], split) if split else None
    if holdout_path:
        local_files[f"{spec.data[0].source} {split}"] = holdout_path
    return local_files


def _find_upload(name: str) -> Path:
    """The uploaded file for SHA256 or SHA256.suffix, of any person; the bare name as a path where there is none."""
    sha, _, suffix = name.partition(".")
    matching_paths = sorted(local_workspace().uploads.glob(f"*/{sha}/[!.]*"))
    return next((path for path in matching_paths if path.suffix.lower() == f".{suffix}" or not suffix), Path(name))


def image_folder(path: Path) -> Path:
    """The folder to which the image paths in the file's rows are relative."""
    find_folder = getattr(reader_for(path), "folder_of", None)
    return find_folder(path) if find_folder else path.parent


def fingerprints(spec: Spec) -> dict[str, str]:
    """{file: its hash} of `local_files_of_spec`, see `fingerprint`."""
    return {name: fingerprint(path) for name, path in local_files_of_spec(spec).items()}


def fingerprint(path: Path) -> str:
    """The hash of a file; where that takes long, its size and time of change."""
    status = path.stat()
    if status.st_size < _MAX_HASHED_BYTES:
        return file_sha256(path)
    return f"{status.st_size} bytes, changed at {status.st_mtime:.0f}"


def display_name(source: Source) -> str:
    """The name of a source for people: the file name of an upload or a path, else its own name."""
    kind, _, name = source.source.partition(":")
    return {"upload": lambda: _find_upload(name).name, "path": lambda: Path(name).name}.get(kind, lambda: name)()


def file_sha256(path: Path) -> str:
    """The SHA-256 of a file, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


# -- rows --------------------------------------------------------------------------------------------------------------


def read_source_rows(
    source: Source, split: str | None = None, unreadable: UnreadableRows | None = None, streaming: bool = False
) -> Iterator[Row]:
    """The rows of `read_numbered_rows`, without their numbers."""
    return (row for _, row in read_numbered_rows(source, split, unreadable, streaming))


def read_numbered_rows(
    source: Source, split: str | None = None, unreadable: UnreadableRows | None = None, streaming: bool = False
) -> Iterator[NumberedRow]:
    """The rows of a source within its start and limit, with their numbers in the file, which count its unreadable rows.

    Raises Problem at the first unreadable row; with `skip_bad` of the source, such rows are left out and counted in
    `unreadable`, which also collects what the reader notes about the form of the file. streaming: a dataset on the Hub is read over the network instead of being downloaded first.
    """
    path = source_path(source, split)
    if path is None:
        raw_rows: Iterator[Row | UnreadableRow] = hub_datasets.read_hub_rows(source, split, streaming)
    else:
        raw_rows = _read_raw_rows(path, source.model_copy(update={"split": split}) if split else source, unreadable)
    first = source.start or 0
    sliced = islice(raw_rows, first, first + source.limit if source.limit else None)
    for number, row in enumerate(sliced, first + 1):
        if not isinstance(row, UnreadableRow):
            yield number, row
        elif not source.skip_bad:
            raise unreadable_problem(row, display_name(source))
        elif unreadable is not None:
            unreadable.add(row, number)


def read_file_rows(path: Path) -> Iterator[Row]:
    """The rows of a file. Raises Problem with the position of the first unreadable row."""
    for row in _read_raw_rows(path, Source(source=f"path:{path}")):
        if isinstance(row, UnreadableRow):
            raise unreadable_problem(row, path.name)
        yield row


def _read_raw_rows(
    path: Path, source: Source, unreadable: UnreadableRows | None = None
) -> Iterator[Row | UnreadableRow]:
    """The rows of a file, with an UnreadableRow for each that cannot be read. unreadable: collects the reader's notes.

    Raises Problem where the rest of the file cannot be read.
    """
    require_matching_content(path)
    try:
        for item in reader_for(path).read(path, source):
            if not isinstance(item, FileNote):
                yield item
            elif unreadable is not None:
                unreadable.add_note(item)
    except UnreadableFile as error:
        raise unreadable_problem(error.row, path.name) from error
    except RecursionError as error:
        raise unreadable_problem(UnreadableRow("it is nested too deeply"), path.name) from error
    except MemoryError as error:
        raise out_of_memory_problem(path) from error
    except (ValueError, EOFError, zlib.error, OSError) as error:  # boundary: a person's file
        if isinstance(error, OSError) and error.errno:
            raise  # an error of the disk, not of the file's content
        reason = shorten(str(error) or "it ends too early", 300).rstrip(".")
        raise unreadable_problem(UnreadableRow(reason), path.name) from error


def out_of_memory_problem(path: Path) -> Problem:
    """The Problem of a file that needs too much memory."""
    return Problem(
        f"{path.name} cannot be read: it grows beyond the memory there is for it, or is damaged.",
        reason="too_large",
        advice="Bring a part of it, or bring it as JSON lines.",
    )


def unreadable_problem(row: UnreadableRow, name: str) -> Problem:
    """The Problem of a file of this name with an unreadable row."""
    if row.kind == "encoding":
        return Problem(
            f"{name} cannot be read: {row.reason}.",
            reason="encoding",
            advice=f"Save it as UTF-8, or say what it is in. {SAVE_AS_CSV_ADVICE}",
        )
    advice = "Mend the file, leave such rows out, or bring another."
    return Problem(f"{name} cannot be read: {row.reason}.", advice=advice, reason="unreadable_data")


# -- number of rows ----------------------------------------------------------------------------------------------------


def _count_with_reader(path: Path) -> int:
    """The number of rows by the file's own metadata. Raises Problem."""
    try:
        return reader_for(path).count(path)
    except (ValueError, OSError) as error:  # boundary: a person's file
        reason = f"it is not whole ({shorten(str(error), 150).rstrip('.')})"
        raise unreadable_problem(UnreadableRow(reason), path.name) from error


_MAX_BYTES_TO_COUNT_LINES = 200_000_000  # of JSON lines, whose line breaks are counted
_MAX_BYTES_TO_COUNT_BY_READING = 2_000_000  # of other formats, which must be parsed to be counted


def _has_row_per_line(path: Path, source: Source) -> bool:
    """Whether this is a file of JSON lines, and not a document under such a name."""
    return file_suffix(path) in (".jsonl", ".ndjson") and not reader_for(path).is_document(path, source.encoding)


def count_rows(source: Source) -> int | None:
    """The number of rows of a source; None where it is not known without a long read."""
    path = source_path(source)
    if path is None:
        return None
    size, suffix = path.stat().st_size, file_suffix(path)
    if suffix == ".parquet":
        count = _count_with_reader(path)
    elif _has_row_per_line(path, source) and path.suffix != GZIP_SUFFIX and size < _MAX_BYTES_TO_COUNT_LINES:
        with path.open("rb") as file:
            count = sum(not line.isspace() and not line.startswith(b"//") for line in file)
    elif size < _MAX_BYTES_TO_COUNT_BY_READING:
        count = sum(1 for _ in _read_raw_rows(path, source))
    else:
        return None
    return rows_in_slice(count, source)


def rows_in_slice(num_rows: int, source: Source) -> int:
    """How many of so many rows lie within a source's start and limit."""
    num_rows = max(0, num_rows - (source.start or 0))
    return min(num_rows, source.limit or num_rows)
