"""The result of a run as a zip file that is written while it is sent, so that it needs neither memory nor disk."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Iterator
from pathlib import Path

_CHUNK_BYTES = 1 << 20


class _SentBytes(io.RawIOBase):
    """A file that keeps what was written until it is taken. It cannot go back, so zipfile puts sizes after each file."""

    def __init__(self) -> None:
        self._waiting = bytearray()

    def writable(self) -> bool:
        return True

    def write(self, content: object) -> int:
        chunk = bytes(content)  # type: ignore[call-overload]  # a buffer, as zipfile writes it
        self._waiting += chunk
        return len(chunk)

    def take(self) -> bytes:
        """What was written since the last call."""
        chunk, self._waiting = bytes(self._waiting), bytearray()
        return chunk


def stream_archive(folder: Path) -> Iterator[bytes]:
    """A zip file of all files of a folder, below the folder's name. Weights hardly shrink, so nothing is compressed."""
    sent = _SentBytes()
    with zipfile.ZipFile(sent, "w", zipfile.ZIP_STORED) as archive:  # a stream without seek
        for path in sorted(path for path in folder.rglob("*") if path.is_file() and not path.is_symlink()):
            entry = zipfile.ZipInfo.from_file(path, str(path.relative_to(folder.parent)), strict_timestamps=False)
            with path.open("rb") as file, archive.open(entry, "w", force_zip64=True) as target:
                while chunk := file.read(_CHUNK_BYTES):
                    target.write(chunk)
                    yield sent.take()
    yield sent.take()
