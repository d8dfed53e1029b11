"""Shelf: what was worked out once from the folders, so that it need not be again. All of it may be thrown away."""

from __future__ import annotations

import contextlib
import hashlib
import os
import threading
from pathlib import Path
from typing import Any, BinaryIO

import orjson

from app.core import registry
from app.core.problems import Problem

# Changes with every change of the pipe's own code: nobody has to remember that what was kept no longer fits.
CODE = hashlib.blake2b(b"".join(path.read_bytes() for path in sorted(Path(__file__).parent.parent.rglob("*.py"))), digest_size=16).hexdigest()  # fmt: skip
PLACES, LOOK = 32, 4_096  # of a long file, by which it is known again: how many, and bytes of each


def put(room: str, name: str, payload: Any) -> None:
    """Keeps plain data. What cannot be kept, on a full disk or one that is not ours, will be worked out again."""
    with contextlib.suppress(OSError, Problem, orjson.JSONEncodeError):  # a border: the disk, and halves of characters
        body = orjson.dumps(payload)
        path = registry.home("cache", room) / name
        draft = path.with_name(f".{name}.{os.getpid()}.{threading.get_ident()}")
        try:
            draft.write_bytes(seal(body) + b"\n" + body)
            draft.replace(path)  # no reader meets half of it
        finally:
            draft.unlink(missing_ok=True)


def get(room: str, name: str) -> Any:
    """What was kept there; None where nothing was, where it is damaged, and where other code than this made it."""
    try:
        header, _, body = (registry.home("cache", room) / name).read_bytes().partition(b"\n")
    except (OSError, Problem):  # a border: the disk
        return None
    return orjson.loads(body) if header == seal(body) else None


def names(room: str) -> list[str]:
    try:
        return [name for name in os.listdir(registry.home("cache", room)) if not name.startswith(".")]
    except (OSError, Problem):  # a border: the disk
        return []


def keep_newest(room: str, count: int) -> None:
    """Throws away what was put there longest ago, but for so many."""
    with contextlib.suppress(OSError, Problem):  # a border: the disk
        folder = registry.home("cache", room)
        for path in sorted((folder / name for name in names(room)), key=lambda path: path.stat().st_mtime)[:-count]:
            path.unlink(missing_ok=True)


def drop(room: str, name: str) -> None:
    with contextlib.suppress(OSError, Problem):  # a border: the disk
        (registry.home("cache", room) / name).unlink(missing_ok=True)


def seal(body: bytes) -> bytes:
    """Stands before what is kept: which code made it, and that it is whole."""
    return f"tunesmith {CODE} {hashlib.blake2b(body, digest_size=16).hexdigest()}".encode()


def likeness(file: BinaryIO, end: int) -> str:
    """By which the first `end` bytes of a file are known again: its head, its tail, and places between."""
    found = hashlib.blake2b(digest_size=16)
    for place in range(PLACES + 1):
        file.seek(max(0, end - LOOK) * place // PLACES)
        found.update(file.read(min(LOOK, end)))
    return found.hexdigest()
