"""Archives: a zip of pictures and the table beside them is unpacked once, and only where nothing in it could do harm."""

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

from app.core import registry
from app.core.problems import Problem, shorten

PICTURES = (".png", ".jpg", ".jpeg", ".webp", ".gif", ".bmp")
TABLES = (".jsonl", ".ndjson", ".json", ".csv", ".tsv", ".parquet")
MOST_BYTES = 4_000_000_000  # unpacked
MOST_FILES = 200_000
CHUNK = 1 << 20
BROKEN = (zipfile.BadZipFile, zipfile.LargeZipFile, zlib.error, lzma.LZMAError, struct.error, EOFError, NotImplementedError, RuntimeError, ValueError, LookupError,
          OSError)  # fmt: skip


def unpacked(path: Path) -> Path:
    """The folder with the archive's pictures and tables, made when it isn't there yet. Raises Problem."""
    found = path.stat()
    name = hashlib.sha256(f"{path.resolve()}{found.st_mtime_ns}{found.st_size}".encode()).hexdigest()[:32]
    folder = registry.home("cache", "unpacked") / name
    if not folder.is_dir():
        try:
            unpack(path, folder)
        except BROKEN as error:  # a border: a person's file
            if isinstance(error, OSError) and error.errno == errno.ENOSPC:
                raise
            raise refused(path, f"is damaged or cut short ({shorten(str(error), 150)})", "Make it again.") from error
    return folder


def unpack(path: Path, folder: Path) -> None:
    """The folder appears whole or not at all."""
    with zipfile.ZipFile(path) as archive, tempfile.TemporaryDirectory(dir=folder.parent, prefix=".") as draft:
        wanted = [one for one in checked(path, archive) if is_wanted(one.filename)]
        if not wanted:
            raise refused(path, "holds neither pictures nor a table", f"Put {', '.join(TABLES[:4])} or pictures in it.")
        for one in wanted:
            place = Path(draft, "content", *one.filename.split("/"))
            place.parent.mkdir(parents=True, exist_ok=True)
            with archive.open(one) as inside, place.open("wb") as outside:
                shutil.copyfileobj(inside, outside, CHUNK)
        if not folder.is_dir():
            Path(draft, "content").rename(folder)


def checked(path: Path, archive: zipfile.ZipFile) -> list[zipfile.ZipInfo]:
    """Its files. Raises Problem for what would lie elsewhere, lead elsewhere, or fill the disk."""
    every = archive.infolist()
    if any(one.filename.endswith("[Content_Types].xml") for one in every):
        raise refused(path, "is an Excel workbook or another Office file, not a zip of examples", "Save it as CSV UTF-8.")  # fmt: skip
    for one in every:
        name = shorten(one.filename, 100)
        if climbs(one.filename):
            raise refused(path, f"holds a file that would lie outside of it, “{name}”", "Pack the folder itself anew.")
        if stat.S_ISLNK(one.external_attr >> 16):
            raise refused(path, f"holds a link, “{name}”", "Pack the file itself in its place.")
        if one.flag_bits & 1:
            raise refused(path, f"is locked with a password (“{name}”)", "Pack it without one.")
    total = sum(one.file_size for one in every)
    if total > MOST_BYTES or len(every) > MOST_FILES:
        raise refused(path, f"grows to {total / 1e9:,.1f} GB in {len(every):,} files", f"Keep it under {MOST_BYTES // 10**9} GB and {MOST_FILES:,} files.")  # fmt: skip
    return [one for one in every if not one.is_dir()]


def climbs(name: str) -> bool:
    parts = name.replace("\\", "/").split("/")
    return name.startswith(("/", "\\")) or ":" in parts[0] or ".." in parts or "\\" in name or "\0" in name


def is_wanted(name: str) -> bool:
    """Pictures, tables and texts, but not what a Mac puts beside them."""
    parts = name.split("/")
    hidden = any(part.startswith((".", "__MACOSX")) for part in parts)
    return not hidden and os.path.splitext(name)[1].lower() in (*PICTURES, *TABLES)


def table_in(folder: Path, path: Path) -> Path | None:
    """The one table of an unpacked archive; None where there are only pictures. Raises Problem for several."""
    found = sorted(one for one in folder.rglob("*") if one.suffix.lower() in TABLES)
    if len(found) > 1:
        names = ", ".join(str(one.relative_to(folder)) for one in found[:5])
        raise refused(path, f"holds {len(found)} tables ({names})", "Keep the one that names the pictures.")
    return found[0] if found else None


def pictures_in(folder: Path) -> list[Path]:
    return sorted(one for one in folder.rglob("*") if one.suffix.lower() in PICTURES)


def refused(path: Path, what: str, advice: str) -> Problem:
    return Problem(f"{path.name} {what}.", advice=advice, reason="unreadable_data")
