"""Lines: a file's text line by line in bounded memory, in the encoding it says it is in; what cannot be read is told with its place."""

from __future__ import annotations

import codecs
import gzip
import io
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

MOST_ROW = 32_000_000  # bytes of one row: what JSON of this size can become in memory stays under a gigabyte
MOST_UNPACKED = 20_000_000_000  # bytes of an archive's content: a small one can hold any number
HEAD = 4_096
SEARCHED = 500_000_000  # bytes in which another encoding shows
BOMS = {codecs.BOM_UTF8: "utf-8", codecs.BOM_UTF16_LE: "utf-16-le", codecs.BOM_UTF16_BE: "utf-16-be"}
UNDEFINED = bytes.maketrans(b"\x81\x8d\x8f\x90\x9d", b"\0\0\0\0\0")  # bytes that Windows-1252 has no letter for


@dataclass(frozen=True)
class Bad:
    """A row that cannot be read. why: its place and what is wrong, as it stands after “cannot be read: ”. kind: row, encoding
    (it may be right in another) or long."""

    why: str
    kind: str = "row"


class Broken(ValueError):
    """Nothing after this can be read."""

    def __init__(self, bad: Bad):
        super().__init__(bad.why)
        self.bad = bad


class Recoded(io.RawIOBase):
    """UTF-8 made of a file in another encoding, as it is read. Raises ValueError where it isn't in that encoding either."""

    def __init__(self, file: IO[bytes], encoding: str):
        self.file, self.encoding = file, encoding
        self.decoder = codecs.getincrementaldecoder(encoding)()
        self.left = b""

    def readable(self) -> bool:
        return True

    def readinto(self, into: Any) -> int:
        while not self.left:
            chunk = self.file.read(1 << 16)
            self.left = self.decoded(chunk)
            if not chunk:
                break
        count = min(len(into), len(self.left))
        into[:count], self.left = self.left[:count], self.left[count:]
        return count

    def decoded(self, chunk: bytes) -> bytes:
        try:
            return self.decoder.decode(chunk, final=not chunk).encode()
        except UnicodeDecodeError as error:
            name = {"cp1252": "Windows-1252"}.get(self.encoding, self.encoding.upper())
            raise ValueError(f"it is not text in {name} ({error.reason})") from error

    def close(self) -> None:
        self.file.close()
        super().close()


def opened(path: Path, encoding: str | None = None) -> IO[bytes]:
    """The file as UTF-8 without its byte-order mark; unpacked where it's a .gz. encoding: what a person said it is in."""
    file: IO[bytes] = gzip.open(path) if path.suffix.lower() == ".gz" else path.open("rb")  # noqa: SIM115 the caller closes it
    head = file.read(HEAD)
    mark = next((mark for mark in BOMS if head.startswith(mark)), b"")
    found = BOMS.get(mark) or wide(head) or {"windows-1252": "cp1252"}.get(encoding or "", encoding) or "utf-8"
    file.seek(len(mark))
    return file if found == "utf-8" else io.BufferedReader(Recoded(file, found), 1 << 16)


def wide(head: bytes) -> str | None:
    """UTF-16 without a mark: every other byte of Western text is zero, which no other text has."""
    even, odd = head[0:HEAD:2], head[1:HEAD:2]
    if len(head) < 4:
        return None
    if odd.count(0) > 0.7 * len(odd) and not even.count(0):
        return "utf-16-le"
    return "utf-16-be" if even.count(0) > 0.7 * len(even) and not odd.count(0) else None


def lines(file: IO[bytes], most: int = MOST_ROW) -> Iterator[tuple[int, int, bytes | Bad]]:
    """(number, its first byte, line) of each; one that is longer is told and passed over, never held. Raises ValueError."""
    number, at = 0, file.tell() if file.seekable() else 0
    while line := file.readline(most + 1):
        number, start = number + 1, at
        at += len(line)
        if len(line) <= most:
            yield number, start, line
        else:
            yield number, start, Bad(f"line {number} (from byte {start}) is longer than {most // 1_000_000} MB", "long")
            at += passed_over(file, line)
        if at > MOST_UNPACKED and isinstance(file, gzip.GzipFile):
            raise ValueError(f"it unpacks to more than {MOST_UNPACKED // 10**9} GB")


def passed_over(file: IO[bytes], line: bytes) -> int:
    count = 0
    while line and not line.endswith(b"\n"):
        line = file.readline(1 << 20)
        count += len(line)
    return count


def decoded(line: bytes, number: int, start: int) -> str | Bad:
    try:
        return line.decode()
    except UnicodeDecodeError as error:
        return Bad(f"line {number} is not text in UTF-8 (byte {start + error.start})", "encoding")


def first_bad_byte(path: Path) -> int:
    """Where a file stops being UTF-8."""
    decoder, at = codecs.getincrementaldecoder("utf-8")(), 0
    with path.open("rb") as file:
        while chunk := file.read(1 << 20):
            held = len(decoder.getstate()[0])
            try:
                decoder.decode(chunk)
            except UnicodeDecodeError as error:
                return at - held + error.start
            at += len(chunk)
    return at


def likely_encoding(path: Path) -> str | None:
    """What a file that is not UTF-8 may be in instead; None when some of its lines are UTF-8 with more than plain letters, so
    that any other encoding would spoil them."""
    undefined = False
    with opened(path) as file:
        for _, start, line in lines(file):
            if start > SEARCHED:
                break
            if isinstance(line, Bad) or line.isascii():
                continue
            if isinstance(decoded(line, 0, 0), str):
                return None
            undefined = undefined or b"\0" in line.translate(UNDEFINED)
    return "latin-1" if undefined else "windows-1252"
