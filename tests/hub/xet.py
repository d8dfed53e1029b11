"""Turns the content-addressed storage of hf_xet back into plain files, with hf_xet itself."""

from __future__ import annotations

import os
import shutil
import struct
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

RECORD_BYTES = 48  # size of every record in a shard
END_OF_FILES = b"\xff" * 32
HAS_VERIFICATION, HAS_METADATA_RECORD = 1 << 31, 1 << 30  # flags of a file's record: more records follow


def xet_folder(root: Path) -> Path:
    storage_folder = root.resolve() / "xet"
    storage_folder.mkdir(exist_ok=True)
    return storage_folder


def read_shard(shard: bytes) -> Iterator[tuple[str, str | None, int]]:
    """(xet hash, SHA-256 if present, size in bytes) of each file in a shard (.mdb); layout as in xet-core's mdb_shard."""
    offset = RECORD_BYTES  # after the header: a tag of 32 bytes, a version, the footer's size
    while offset + RECORD_BYTES <= len(shard):
        xet_hash, flags, count, _ = struct.unpack("<32sIIQ", shard[offset : offset + RECORD_BYTES])
        if xet_hash == END_OF_FILES:
            return
        offset += RECORD_BYTES
        sizes = [
            struct.unpack("<32sIIII", shard[offset + RECORD_BYTES * i : offset + RECORD_BYTES * (i + 1)])[2]
            for i in range(count)
        ]
        offset += RECORD_BYTES * count * (2 if flags & HAS_VERIFICATION else 1)
        sha256 = shard[offset : offset + 32] if flags & HAS_METADATA_RECORD else None
        offset += RECORD_BYTES if flags & HAS_METADATA_RECORD else 0
        yield format_hash(xet_hash), format_hash(sha256) if sha256 else None, sum(sizes)


def format_hash(raw: bytes) -> str:
    return "".join(f"{word:016x}" for word in struct.unpack("<4Q", raw))


def read_index(root: Path) -> dict[str, tuple[str, int]]:
    """{SHA-256: (xet hash, size in bytes)} of all uploaded files."""
    shards = xet_folder(root).rglob("shards/*.mdb")
    return {
        sha256: (xet_hash, size)
        for shard in shards
        for xet_hash, sha256, size in read_shard(shard.read_bytes())
        if sha256
    }


def find_xet_hash(root: Path, sha256: str) -> str | None:
    return read_index(root).get(sha256, (None,))[0]


def fetch_file(root: Path, sha256: str, to: Path) -> bool:
    """Rebuilds an uploaded file at `to`. Retries for 5 seconds, because the uploading process may still hold the lock of the index."""
    if sha256 not in read_index(root):
        return False
    for _ in range(50):
        try:
            rebuild_file(root, *read_index(root)[sha256], to)
            return True
        except Exception as error:  # library boundary: hf_xet raises plain Exceptions
            last_error = error
            time.sleep(0.1)
    raise last_error


def rebuild_file(root: Path, xet_hash: str, size: int, to: Path) -> None:
    """Reads from a copy of the storage, with links to the content, because the index can be locked by one process only."""
    import hf_xet

    with tempfile.TemporaryDirectory(dir=root / "drafts") as temporary_folder:
        copy = Path(temporary_folder) / "xet"
        shutil.copytree(xet_folder(root), copy, copy_function=lambda a, b: shutil.copyfile(a, b) if a.endswith(".redb") else os.link(a, b))  # fmt: skip
        session = hf_xet.XetSession()
        with session.new_file_download_group(endpoint=f"local://{copy}", token="x", token_expiry_unix_secs=2**33) as downloads:  # fmt: skip
            downloads.start_download_file(hf_xet.XetFileInfo(xet_hash, size), str(Path(temporary_folder) / "file"))
        (Path(temporary_folder) / "file").replace(to)
