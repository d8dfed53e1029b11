"""Text files line by line in bounded memory, as UTF-8 whatever their encoding."""

from __future__ import annotations

import codecs
import gzip
import io
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

MAX_ROW_BYTES = 32_000_000  # JSON of this size needs less than a gigabyte of memory once parsed
_MAX_UNPACKED_BYTES = 20_000_000_000  # of a .gz file: a small one can unpack to any size
_HEAD_BYTES = 4_096  # in which the encoding is detected
_MAX_ENCODING_SEARCH_BYTES = 500_000_000  # read at most to guess an encoding
_BOMS = {codecs.BOM_UTF8: "utf-8", codecs.BOM_UTF16_LE: "utf-16-le", codecs.BOM_UTF16_BE: "utf-16-be"}
_CP1252_UNDEFINED = bytes.maketrans(b"\x81\x8d\x8f\x90\x9d", b"\0\0\0\0\0")  # bytes without a character in Windows-1252


Utf8File: TypeAlias = io.BufferedReader | gzip.GzipFile


@dataclass(frozen=True)
class UnreadableRow:
    """A row that cannot be read.

    reason: its position and what is wrong, to follow “cannot be read: ”. kind: row, encoding (it may be readable in
    another encoding) or long (over the size limit).
    """

    reason: str
    kind: str = "row"


@dataclass(frozen=True)
class FileNote:
    """A sentence of a reader about the form of a file, which it yields among the rows."""

    text: str


class UnreadableFile(ValueError):
    """A file that cannot be read beyond this row."""

    def __init__(self, row: UnreadableRow):
        super().__init__(row.reason)
        self.row = row


class _Utf8Transcoder(io.RawIOBase):
    """A binary file whose text is converted from another encoding to UTF-8 while it is read.

    Raises ValueError where the text is not valid in that encoding.
    """

    def __init__(self, file: io.BufferedIOBase, encoding: str):
        self.file, self.encoding = file, encoding
        self.decoder = codecs.getincrementaldecoder(encoding)()
        self.buffer = b""

    def readable(self) -> bool:
        return True

    def readinto(self, target: WriteableBuffer) -> int:
        while not self.buffer:
            chunk = self.file.read(1 << 16)
            self.buffer = self._transcode(chunk)
            if not chunk:
                break
        view = memoryview(target)
        count = min(len(view), len(self.buffer))
        view[:count], self.buffer = self.buffer[:count], self.buffer[count:]
        return count

    def _transcode(self, chunk: bytes) -> bytes:
        """A chunk as UTF-8; an empty chunk is the end of the file. Raises ValueError."""
        try:
            return self.decoder.decode(chunk, final=not chunk).encode()
        except UnicodeDecodeError as error:
            name = {"cp1252": "Windows-1252"}.get(self.encoding, self.encoding.upper())
            raise ValueError(f"it is not text in {name} ({error.reason})") from error

    def close(self) -> None:
        self.file.close()
        super().close()


def open_utf8(path: Path, encoding: str | None = None) -> Utf8File:
    """The file as UTF-8 bytes, without its byte order mark, and decompressed if it is a .gz. encoding: as the source
    says; a byte order mark and UTF-16 are detected before it."""
    is_gzip = path.suffix.lower() == ".gz"
    file = gzip.open(path) if is_gzip else path.open("rb")  # noqa: SIM115 the caller closes it
    head = file.read(_HEAD_BYTES)
    byte_order_mark = next((mark for mark in _BOMS if head.startswith(mark)), b"")
    python_name = {"windows-1252": "cp1252"}.get(encoding or "", encoding)
    codec = _BOMS.get(byte_order_mark) or _detect_utf16(head) or python_name or "utf-8"
    file.seek(len(byte_order_mark))
    return file if codec == "utf-8" else io.BufferedReader(_Utf8Transcoder(file, codec), 1 << 16)


def _detect_utf16(head: bytes) -> str | None:
    """The codec of UTF-16 text without a byte order mark: in Western text, every second byte is zero."""
    even_bytes, odd_bytes = head[0:_HEAD_BYTES:2], head[1:_HEAD_BYTES:2]
    if len(head) < 4:
        return None
    if odd_bytes.count(0) > 0.7 * len(odd_bytes) and not even_bytes.count(0):
        return "utf-16-le"
    return "utf-16-be" if even_bytes.count(0) > 0.7 * len(even_bytes) and not odd_bytes.count(0) else None


def read_lines(
    file: io.BufferedIOBase, max_bytes: int = MAX_ROW_BYTES
) -> Iterator[tuple[int, int, bytes | UnreadableRow]]:
    """(line number from 1, position of its first byte, line) of each line.

    A line over `max_bytes` becomes an UnreadableRow and is skipped without being held in memory. Raises ValueError for
    a .gz that unpacks to too much.
    """
    number, position = 0, file.tell() if file.seekable() else 0
    while line := file.readline(max_bytes + 1):
        number, start = number + 1, position
        position += len(line)
        if len(line) <= max_bytes:
            yield number, start, line
        else:
            reason = f"line {number} (from byte {start}) is longer than {max_bytes // 1_000_000} MB"
            yield number, start, UnreadableRow(reason, "long")
            position += _skip_line(file, line)
        if position > _MAX_UNPACKED_BYTES and isinstance(file, gzip.GzipFile):
            raise ValueError(f"it unpacks to more than {_MAX_UNPACKED_BYTES // 10**9} GB")


def _skip_line(file: io.BufferedIOBase, line: bytes) -> int:
    """Reads to the end of a line of which `line` is the beginning. Returns the number of bytes that were skipped."""
    num_bytes = 0
    while line and not line.endswith(b"\n"):
        line = file.readline(1 << 20)
        num_bytes += len(line)
    return num_bytes


def decode_line(line: bytes, number: int, start: int) -> str | UnreadableRow:
    """A line as text. start: the position of its first byte in the file, for the reason."""
    try:
        return line.decode()
    except UnicodeDecodeError as error:
        return UnreadableRow(f"line {number} is not text in UTF-8 (byte {start + error.start})", "encoding")


def first_invalid_byte(path: Path) -> int:
    """The position of the first byte of a file that is not valid UTF-8; its size where all of it is."""
    decoder, position = codecs.getincrementaldecoder("utf-8")(), 0
    with path.open("rb") as file:
        while chunk := file.read(1 << 20):
            num_pending = len(decoder.getstate()[0])
            try:
                decoder.decode(chunk)
            except UnicodeDecodeError as error:
                return position - num_pending + error.start
            position += len(chunk)
    return position


def guess_encoding(path: Path) -> str | None:
    """The likely encoding of a file that is not UTF-8; None where some of its lines are valid UTF-8 beyond ASCII,
    which another encoding would garble."""
    has_undefined_bytes = False
    with open_utf8(path) as file:
        for _, start, line in read_lines(file):
            if start > _MAX_ENCODING_SEARCH_BYTES:
                break
            if isinstance(line, UnreadableRow) or line.isascii():
                continue
            if isinstance(decode_line(line, 0, 0), str):
                return None
            has_undefined_bytes = has_undefined_bytes or b"\0" in line.translate(_CP1252_UNDEFINED)
    return "latin-1" if has_undefined_bytes else "windows-1252"
