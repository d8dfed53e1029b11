"""Files: where a source's examples lie, and what they say, row by row. No heavy imports."""

from __future__ import annotations

import hashlib
import os
import zlib
from collections.abc import Iterator
from functools import cache
from itertools import islice
from pathlib import Path
from types import ModuleType
from typing import Any

from app.core import registry
from app.core.problems import Problem, shorten
from app.data.text_lines import Bad, Broken
from app.data.unreadable_rows import Unread
from app.setup.spec import Source, Spec

Row = dict[str, Any]
PACKED = ".gz"  # of texts: they are unpacked as they are read


@cache
def readers() -> dict[str, ModuleType]:
    """{suffix: the reader of its files}, by the files of the room app/data/sources/."""
    found = [registry.load("readers", name) for name in registry.choices("readers")]
    return {suffix: module for module in found for suffix in module.SUFFIXES}


UNPACKABLE = (".jsonl", ".ndjson", ".json", ".csv", ".tsv", ".txt", ".md")
SUFFIXES = (".jsonl", ".csv", ".parquet", ".json", ".ndjson", ".tsv", ".txt", ".md", ".arrow", ".feather", ".zip", PACKED)  # fmt: skip


def kind_of(path: Path | str) -> str:
    """The suffix that tells how a file is read: .csv of a.csv and of a.csv.gz."""
    stem, suffix = os.path.splitext(str(path).lower())
    inner = os.path.splitext(stem)[1]
    return inner if suffix == PACKED and inner in UNPACKABLE else suffix


def reader_of(path: Path) -> ModuleType:
    return readers()[kind_of(path)]


# -- where they lie ---------------------------------------------------------------------------------------------------


def file_of(source: Source, split: str | None = None) -> Path | None:
    """The file behind a sample, upload or path; None for a Hub source. Raises Problem when it isn't there."""
    kind, _, name = source.source.partition(":")
    if kind == "hub":
        return None
    if kind == "sample":
        path = registry.ROOT / "presets" / "samples" / name / f"{split or source.split}.jsonl"
        known = sorted(folder.name for folder in path.parent.parent.iterdir() if folder.is_dir())
        advice = registry.nearest(name, known) if name not in known else "Its splits are train and holdout."
    elif kind == "upload":
        path, advice = uploaded(name), "Upload the file again."
    else:
        path, advice = Path(os.path.expanduser(name)), "Check the path."
    if not os.path.isfile(path):  # unlike pathlib's it takes any text, also one too long for a path
        raise Problem(
            f"The examples “{shorten(source.source, 200)}” are not there.", advice=advice, reason="data_not_found"
        )
    if kind_of(path) not in readers():
        raise Problem(f"Files ending in “{path.suffix}” cannot be read.", advice=f"Use one of {', '.join(SUFFIXES)}.")
    return path


def files_of(spec: Spec) -> dict[str, Path]:
    """{source: file} of everything a Spec reads that lies here, the split it is tested on too. Raises Problem."""
    found = {one.source: path for one in spec.sources if (path := file_of(one))}
    split = spec.holdout.split
    aside = file_of(spec.data[0], split) if split else None
    return found | ({f"{spec.data[0].source} {split}": aside} if aside else {})


def uploaded(name: str) -> Path:
    """The file behind SHA256 or SHA256.suffix, whoever brought it; the bare name when nobody did."""
    sha, _, suffix = name.partition(".")
    found = sorted(registry.home("uploads").glob(f"*/{sha}/[!.]*"))
    return next((path for path in found if path.suffix.lower() == f".{suffix}" or not suffix), Path(name))


def folder_of(path: Path) -> Path:
    """Where the pictures lie that the file's rows name."""
    find = getattr(reader_of(path), "folder_of", None)
    return find(path) if find else path.parent


def name_of(source: Source) -> str:
    """What a person calls it: an upload by the name it came with, a path by its file's."""
    kind, _, name = source.source.partition(":")
    return {"upload": lambda: uploaded(name).name, "path": lambda: Path(name).name}.get(kind, lambda: name)()


def fingerprint(path: Path) -> str:
    """SHA-256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


# -- what they say ----------------------------------------------------------------------------------------------------


def rows_of(source: Source, split: str | None = None, unread: Unread | None = None, streaming: bool = False) -> Iterator[Row]:  # fmt: skip
    """The rows of a source, of its slice only. Raises Problem at the first that cannot be read, unless the source says to leave
    such out; then `unread` counts them. streaming: a Hub dataset is read as it comes instead of fetched."""
    path = file_of(source, split)
    if path is None:
        from app.data import hub_datasets

        raw: Iterator[Row | Bad] = hub_datasets.rows(source, split, streaming)
    else:
        raw = told(path, source)
    first = source.start or 0
    sliced = islice(raw, first, first + source.limit if source.limit else None)
    for number, row in enumerate(sliced, first + 1):
        if not isinstance(row, Bad):
            yield row
        elif not source.skip_bad:
            raise problem_of(row, name_of(source))
        elif unread is not None:
            unread.add(row, number)


def read(path: Path) -> Iterator[Row]:
    """Rows of a file, one by one. Raises Problem with the place where it stops being readable."""
    for row in told(path, Source(source=f"path:{path}")):
        if isinstance(row, Bad):
            raise problem_of(row, path.name)
        yield row


def told(path: Path, source: Source) -> Iterator[Row | Bad]:
    """Rows, and those that cannot be read, as a file's reader tells them. Raises Problem where nothing more can be read."""
    refuse_disguised(path)
    try:
        yield from reader_of(path).read(path, source)
    except Broken as error:
        raise problem_of(error.bad, path.name) from error
    except RecursionError as error:
        raise problem_of(Bad("it is nested too deeply"), path.name) from error
    except MemoryError as error:
        raise grown(path) from error
    except (ValueError, EOFError, zlib.error, OSError) as error:  # a border: a person's file
        if isinstance(error, OSError) and error.errno:
            raise  # the disk's word, not the file's
        raise problem_of(Bad(shorten(str(error) or "it ends too early", 300).rstrip(".")), path.name) from error


def grown(path: Path) -> Problem:
    return Problem(f"{path.name} cannot be read: it grows beyond the memory there is for it, or is damaged.", reason="too_large",
                   advice="Bring a part of it, or bring it as JSON lines.")  # fmt: skip


def problem_of(bad: Bad, name: str) -> Problem:
    if bad.kind == "encoding":
        return Problem(f"{name} cannot be read: {bad.why}.", reason="encoding",
                       advice=f"Save it as UTF-8, or say what it is in. {AS_CSV}")  # fmt: skip
    advice = "Mend the file, leave such rows out, or bring another."
    return Problem(f"{name} cannot be read: {bad.why}.", advice=advice, reason="unreadable_data")


# How files begin that only look like text by their name, and what they are.
DISGUISED = {b"\x89PNG\r\n": "a PNG picture", b"\xff\xd8\xff": "a JPEG picture", b"GIF87a": "a GIF picture", b"GIF89a": "a GIF picture",
             b"%PDF-": "a PDF", b"PK\x03\x04": "an Excel workbook or another zip archive", b"\xd0\xcf\x11\xe0": "an old Office file",
             b"\x1f\x8b": "a gzip archive", b"PAR1": "a Parquet file", b"ARROW1": "an Arrow file"}  # fmt: skip
THEIRS = {b"PK\x03\x04": ".zip", b"\x1f\x8b": PACKED, b"PAR1": ".parquet"}
BINARY = (".parquet", ".arrow", ".feather")
AS_CSV = "In a spreadsheet: Save as → CSV UTF-8."


def refuse_disguised(path: Path) -> None:
    """Raises Problem for a picture or an archive that was given the name of a table."""
    suffix = path.suffix.lower()
    with path.open("rb") as file:
        head = file.read(16)
    magic = next((magic for magic in DISGUISED if head.startswith(magic)), None)
    if magic and suffix not in BINARY and THEIRS.get(magic) != suffix:
        advice = AS_CSV if "Office" in DISGUISED[magic] or magic == b"PK\x03\x04" else "Bring a table or JSON lines."
        advice = f"Call it {THEIRS[magic]}." if magic == b"PAR1" else advice
        raise Problem(f"{path.name} is {DISGUISED[magic]}, not {'a zip' if suffix == '.zip' else 'a table'}.", advice=advice, reason="unreadable_data")  # fmt: skip
    if suffix == ".zip" and magic is None:
        raise Problem(f"{path.name} is no zip archive.", advice="Pack it again.", reason="unreadable_data")


# -- how many there are -----------------------------------------------------------------------------------------------


def counted(path: Path) -> int:
    try:
        return reader_of(path).count(path)
    except (ValueError, OSError) as error:  # a border: a person's file
        raise problem_of(Bad(f"it is not whole ({shorten(str(error), 150).rstrip('.')})"), path.name) from error


QUICKLY = 200_000_000  # bytes of lines that are counted by reading them
SMALL = 2_000_000  # bytes of what must be understood to be counted


def count_of(source: Source) -> int | None:
    """How many rows a source has, where that is quickly known."""
    path = file_of(source)
    if path is None:
        return None
    size, kind = path.stat().st_size, kind_of(path)
    if kind == ".parquet":
        count = counted(path)
    elif kind in (".jsonl", ".ndjson") and path.suffix != PACKED and size < QUICKLY:
        with path.open("rb") as file:
            count = sum(not line.isspace() for line in file)
    elif size < SMALL:
        count = sum(1 for _ in told(path, source))
    else:
        return None
    count = max(0, count - (source.start or 0))
    return min(count, source.limit or count)
