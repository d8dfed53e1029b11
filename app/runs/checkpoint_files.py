"""Whether the files of a checkpoint are still as they were saved. Nothing in them is executed or unpickled."""

from __future__ import annotations

import json
import struct
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

from app.core.cache import sampled_hash
from app.core.json_files import DamagedFile, load_json

COMPLETE_MARK = "whole.json"
_MAX_HEADER_BYTES = 100_000_000  # of a safetensors file, as its library has it


class FileStamp(NamedTuple):
    """Identifies the content of a file. size: in bytes. sample_hash: of samples spread over it, so that large files cost
    little; a file of up to 130 kB is read whole."""

    size: int
    sample_hash: str


def file_stamps(folder: Path) -> dict[str, FileStamp]:
    """{path in the folder: stamp} of all files of a checkpoint but its mark."""
    return {str(path.relative_to(folder)): _stamp(path) for path in _files(folder)}


def _files(folder: Path) -> Iterator[Path]:
    """All files below the folder but its mark, in order."""
    marks = (folder / COMPLETE_MARK, folder / f".{COMPLETE_MARK}")
    return (path for path in sorted(folder.rglob("*")) if path.is_file() and path not in marks)


def _stamp(path: Path) -> FileStamp:
    size = path.stat().st_size
    with path.open("rb") as file:
        return FileStamp(size, sampled_hash(file, size))


def find_fault(folder: Path, stamps: Mapping[str, FileStamp] | None) -> str | None:
    """The first file that is damaged and how, such as “optimizer.pt is missing”; None for a checkpoint in order.

    stamps: as they were when it was saved. None for a checkpoint of an earlier version, which has none: then the format
    of each file is checked, which a missing file escapes.
    """
    try:
        if stamps is None:
            return next((f"{path.name} is damaged" for path in _files(folder) if not _has_valid_format(path)), None)
        return next((fault for name, stamp in stamps.items() if (fault := _change_since(folder / name, stamp))), None)
    except OSError as error:  # boundary: the disk
        return f"it cannot be read: {error.strerror}"


def _change_since(path: Path, stamp: FileStamp) -> str | None:
    """How a file differs from its stamp."""
    if not path.is_file():
        return f"{path.name} is missing"
    if path.stat().st_size != stamp.size:
        return f"{path.name} has {path.stat().st_size:,} of {stamp.size:,} bytes"
    return None if _stamp(path) == stamp else f"{path.name} is not as it was saved"


def _has_valid_format(path: Path) -> bool:
    """Whether a file is complete, as far as its format tells: safetensors and torch files end as they begin."""
    if path.suffix == ".safetensors":
        return _has_all_tensors(path)
    if path.suffix in (".pt", ".pth", ".bin"):
        return zipfile.is_zipfile(path)  # torch writes ZIP archives, whose directory is at the end
    if path.suffix == ".json":
        try:
            load_json(path, object)
        except DamagedFile:
            return False
    return path.stat().st_size > 0


def _has_all_tensors(path: Path) -> bool:
    """Whether a safetensors file is as long as its header says: 8 bytes with the length of a JSON header, and tensors."""
    try:
        with path.open("rb") as file:
            (header_length,) = struct.unpack("<Q", file.read(8))
            header = json.loads(file.read(min(header_length, _MAX_HEADER_BYTES)))
        ends = [tensor["data_offsets"][1] for name, tensor in header.items() if name != "__metadata__"]
        return bool(8 + header_length + max(ends, default=0) == path.stat().st_size)
    except (struct.error, ValueError, AttributeError, KeyError, IndexError, TypeError, RecursionError):
        return False
