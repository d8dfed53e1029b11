"""Cache on disk for results that were computed from other files. Everything in it can be deleted at any time."""

from __future__ import annotations

import contextlib
import hashlib
import os
import threading
from pathlib import Path
from typing import Any, BinaryIO

import orjson

from app.core.problems import Problem
from app.core.workspace import Workspace

_APP_SOURCES = sorted(Path(__file__).parent.parent.rglob("*.py"))
# Entries of other code are ignored. So nobody has to increase a version number by hand after a change.
CODE_HASH = hashlib.blake2b(b"".join(path.read_bytes() for path in _APP_SOURCES), digest_size=16).hexdigest()
SAMPLE_COUNT = 32  # samples of a long file that `sampled_hash` reads
SAMPLE_BYTES = 4_096  # length of each sample


def put(workspace: Workspace, namespace: str, key: str, payload: Any) -> None:
    """Stores JSON data.

    When that fails, as on a full or read-only disk, nothing is stored: the caller computes it again later.
    """
    with contextlib.suppress(
        OSError, Problem, orjson.JSONEncodeError
    ):  # boundary: the disk, and text with lone surrogates
        body = orjson.dumps(payload)
        path = workspace.cache(namespace) / key
        temporary_path = path.with_name(f".{key}.{os.getpid()}.{threading.get_ident()}")
        try:
            temporary_path.write_bytes(_header(body) + b"\n" + body)
            temporary_path.replace(path)  # atomic: no reader sees a partial file
        finally:
            temporary_path.unlink(missing_ok=True)


def get(workspace: Workspace, namespace: str, key: str) -> Any:
    """The stored data; None when it is missing, damaged, or written by another version of the code."""
    try:
        header, _, body = (workspace.cache(namespace) / key).read_bytes().partition(b"\n")
    except (OSError, Problem):  # boundary: the disk
        return None
    return orjson.loads(body) if header == _header(body) else None


def keys(workspace: Workspace, namespace: str) -> list[str]:
    """The keys of all entries, in no order."""
    try:
        return [name for name in os.listdir(workspace.cache(namespace)) if not name.startswith(".")]
    except (OSError, Problem):  # boundary: the disk
        return []


def keep_newest(workspace: Workspace, namespace: str, count: int) -> None:
    """Deletes all but the `count` newest entries."""
    with contextlib.suppress(OSError, Problem):  # boundary: the disk
        folder = workspace.cache(namespace)
        for path in sorted(
            (folder / name for name in keys(workspace, namespace)), key=lambda path: path.stat().st_mtime
        )[:-count]:
            path.unlink(missing_ok=True)


def delete(workspace: Workspace, namespace: str, key: str) -> None:
    """Deletes one entry, if it exists."""
    with contextlib.suppress(OSError, Problem):  # boundary: the disk
        (workspace.cache(namespace) / key).unlink(missing_ok=True)


def _header(body: bytes) -> bytes:
    """First line of a cache file: the version of the code, and a checksum of the body."""
    return f"tunesmith {CODE_HASH} {hashlib.blake2b(body, digest_size=16).hexdigest()}".encode()


def sampled_hash(file: BinaryIO, byte_count: int) -> str:
    """A hash of evenly spaced samples of the first `end` bytes, head and tail included.

    Cheap for files of any length.
    """
    digest = hashlib.blake2b(digest_size=16)
    for index in range(SAMPLE_COUNT + 1):
        file.seek(max(0, byte_count - SAMPLE_BYTES) * index // SAMPLE_COUNT)
        digest.update(file.read(min(SAMPLE_BYTES, byte_count)))
    return digest.hexdigest()
