"""Safe unpacking of zip archives with images and a table, once for each archive.

Paths outside the archive, links, passwords and archives that would fill the disk are refused.
"""

from __future__ import annotations

import errno
import hashlib
import lzma
import os
import shutil
import stat
import struct
import tempfile
import zipfile
import zlib
from pathlib import Path

from app.core.problems import Problem, shorten
from app.core.workspace import local_workspace

IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".gif", ".bmp")
_TABLE_SUFFIXES = (".jsonl", ".ndjson", ".json", ".csv", ".tsv", ".parquet")
_MAX_UNPACKED_BYTES = 4_000_000_000
_MAX_FILES = 200_000
_CHUNK_BYTES = 1 << 20
_ARCHIVE_ERRORS = (
    zipfile.BadZipFile,
    zipfile.LargeZipFile,
    zlib.error,
    lzma.LZMAError,
    struct.error,
    EOFError,
    NotImplementedError,
    RuntimeError,
    ValueError,
    LookupError,
    OSError,
)


def unpack_archive(path: Path) -> Path:
    """The cache folder with the archive's images and tables; unpacks the archive the first time. Raises Problem."""
    file_status = path.stat()
    name = hashlib.sha256(f"{path.resolve()}{file_status.st_mtime_ns}{file_status.st_size}".encode()).hexdigest()[:32]
    folder = local_workspace().cache("unpacked") / name
    if not folder.is_dir():
        try:
            _extract_members(path, folder)
        except _ARCHIVE_ERRORS as error:  # boundary: a person's file
            if isinstance(error, OSError) and error.errno == errno.ENOSPC:
                raise
            raise _archive_problem(
                path, f"is damaged or cut short ({shorten(str(error), 150)})", "Make it again."
            ) from error
    return folder


def _extract_members(path: Path, folder: Path) -> None:
    """Unpacks images and tables to `folder`, which appears only once it is complete. Raises Problem."""
    with (
        zipfile.ZipFile(path) as archive,
        tempfile.TemporaryDirectory(dir=folder.parent, prefix=".") as temporary_folder,
    ):
        members = [member for member in _safe_members(path, archive) if _is_image_or_table(member.filename)]
        if not members:
            raise _archive_problem(
                path, "holds neither pictures nor a table", f"Put {', '.join(_TABLE_SUFFIXES[:4])} or pictures in it."
            )
        for member in members:
            target = Path(temporary_folder, "content", *member.filename.split("/"))
            target.parent.mkdir(parents=True, exist_ok=True)
            with archive.open(member) as source_file, target.open("wb") as target_file:
                shutil.copyfileobj(source_file, target_file, _CHUNK_BYTES)
        if not folder.is_dir():
            Path(temporary_folder, "content").rename(folder)


def _safe_members(path: Path, archive: zipfile.ZipFile) -> list[zipfile.ZipInfo]:
    """All files of an archive.

    Raises Problem for paths outside of it, links, encryption, and too many or too large files.
    """
    members = archive.infolist()
    if any(member.filename.endswith("[Content_Types].xml") for member in members):
        raise _archive_problem(
            path, "is an Excel workbook or another Office file, not a zip of examples", "Call a workbook .xlsx."
        )
    for member in members:
        name = shorten(member.filename, 100)
        if _is_unsafe_path(member.filename):
            raise _archive_problem(
                path, f"holds a file that would lie outside of it, “{name}”", "Pack the folder itself anew."
            )
        if stat.S_ISLNK(member.external_attr >> 16):
            raise _archive_problem(path, f"holds a link, “{name}”", "Pack the file itself in its place.")
        if member.flag_bits & 1:
            raise _archive_problem(path, f"is locked with a password (“{name}”)", "Pack it without one.")
    total = sum(member.file_size for member in members)
    if total > _MAX_UNPACKED_BYTES or len(members) > _MAX_FILES:
        raise _archive_problem(
            path,
            f"grows to {total / 1e9:,.1f} GB in {len(members):,} files",
            f"Keep it under {_MAX_UNPACKED_BYTES // 10**9} GB and {_MAX_FILES:,} files.",
        )
    return [member for member in members if not member.is_dir()]


def _is_unsafe_path(name: str) -> bool:
    """Whether a path could leave the target folder: absolute, with a drive, with `..`, or with a backslash."""
    path_segments = name.replace("\\", "/").split("/")
    return (
        name.startswith(("/", "\\")) or ":" in path_segments[0] or ".." in path_segments or "\\" in name or "\0" in name
    )


def _is_image_or_table(name: str) -> bool:
    """Whether this is an image or a table, without hidden files and those that macOS adds."""
    path_segments = name.split("/")
    is_hidden = any(segment.startswith((".", "__MACOSX")) for segment in path_segments)
    return not is_hidden and os.path.splitext(name)[1].lower() in (*IMAGE_SUFFIXES, *_TABLE_SUFFIXES)


def find_table(folder: Path, path: Path) -> Path | None:
    """The table of an unpacked archive; None where there are only images. Raises Problem for several tables."""
    tables = sorted(file for file in folder.rglob("*") if file.suffix.lower() in _TABLE_SUFFIXES)
    if len(tables) > 1:
        names = ", ".join(str(file.relative_to(folder)) for file in tables[:5])
        raise _archive_problem(path, f"holds {len(tables)} tables ({names})", "Keep the one that names the pictures.")
    return tables[0] if tables else None


def find_images(folder: Path) -> list[Path]:
    """All images of an unpacked archive, sorted by path."""
    return sorted(file for file in folder.rglob("*") if file.suffix.lower() in IMAGE_SUFFIXES)


def _archive_problem(path: Path, reason: str, advice: str) -> Problem:
    return Problem(f"{path.name} {reason}.", advice=advice, reason="unreadable_data")
