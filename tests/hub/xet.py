"""Xet: what hf_xet stored in its content-addressed folder becomes plain files again, by hf_xet itself."""

from __future__ import annotations

import os
import shutil
import struct
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

RECORD = 48  # bytes of every record in a shard
END = b"\xff" * 32
VERIFIED, EXTENDED = 1 << 31, 1 << 30  # flags of a file's record: more records follow


def folder(root: Path) -> Path:
    made = root.resolve() / "xet"
    made.mkdir(exist_ok=True)
    return made


def files_in(shard: bytes) -> Iterator[tuple[str, str | None, int]]:
    """(xet hash, SHA-256 if it is told, size) of each file a shard (.mdb) describes; layout as in xet-core's mdb_shard."""
    at = RECORD  # after the header: a tag of 32 bytes, a version, the footer's size
    while at + RECORD <= len(shard):
        name, flags, count, _ = struct.unpack("<32sIIQ", shard[at : at + RECORD])
        if name == END:
            return
        at += RECORD
        sizes = [struct.unpack("<32sIIII", shard[at + RECORD * i : at + RECORD * (i + 1)])[2] for i in range(count)]
        at += RECORD * count * (2 if flags & VERIFIED else 1)
        sha256 = shard[at : at + 32] if flags & EXTENDED else None
        at += RECORD if flags & EXTENDED else 0
        yield hashed(name), hashed(sha256) if sha256 else None, sum(sizes)


def hashed(raw: bytes) -> str:
    return "".join(f"{word:016x}" for word in struct.unpack("<4Q", raw))


def index(root: Path) -> dict[str, tuple[str, int]]:
    """{SHA-256: (xet hash, size)} of everything uploaded."""
    shards = folder(root).rglob("shards/*.mdb")
    return {sha: (name, size) for shard in shards for name, sha, size in files_in(shard.read_bytes()) if sha}


def name_of(root: Path, sha256: str) -> str | None:
    return index(root).get(sha256, (None,))[0]


def fetch(root: Path, sha256: str, to: Path) -> bool:
    """Rebuilds one uploaded file. The uploading process may hold the store's lock a moment longer, hence the tries."""
    if sha256 not in index(root):
        return False
    for _ in range(50):
        try:
            rebuild(root, *index(root)[sha256], to)
            return True
        except Exception as error:  # a border: hf_xet raises plain exceptions of its own
            last = error
            time.sleep(0.1)
    raise last


def rebuild(root: Path, name: str, size: int, to: Path) -> None:
    """Reads from a copy: links to the content, bytes of the index, whose lock knows one process only."""
    import hf_xet

    with tempfile.TemporaryDirectory(dir=root / "drafts") as place:
        copy = Path(place) / "xet"
        shutil.copytree(folder(root), copy, copy_function=lambda a, b: shutil.copyfile(a, b) if a.endswith(".redb") else os.link(a, b))  # fmt: skip
        session = hf_xet.XetSession()
        with session.new_file_download_group(endpoint=f"local://{copy}", token="x", token_expiry_unix_secs=2**33) as group:  # fmt: skip
            group.start_download_file(hf_xet.XetFileInfo(name, size), str(Path(place) / "file"))
        (Path(place) / "file").replace(to)
