"""Recognition of binary files that have the suffix of a table."""

from __future__ import annotations

from pathlib import Path

from app.core.problems import Problem

# {first bytes of a binary file: what it is}, to recognise files with the suffix of a table.
_MAGIC_BYTES = {
    b"\x89PNG\r\n": "a PNG picture",
    b"\xff\xd8\xff": "a JPEG picture",
    b"GIF87a": "a GIF picture",
    b"GIF89a": "a GIF picture",
    b"%PDF-": "a PDF",
    b"PK\x03\x04": "an Excel workbook or another zip archive",
    b"\xd0\xcf\x11\xe0": "an old Office file",
    b"\x1f\x8b": "a gzip archive",
    b"PAR1": "a Parquet file",
    b"ARROW1": "an Arrow file",
}
_SUFFIXES_BY_MAGIC = {b"PK\x03\x04": (".zip", ".xlsx"), b"\x1f\x8b": (".gz",), b"PAR1": (".parquet",)}
_BINARY_SUFFIXES = (".parquet", ".arrow", ".feather")
SAVE_AS_CSV_ADVICE = "In a spreadsheet: Save as → CSV UTF-8."


def require_matching_content(path: Path) -> None:
    """Raises Problem for an image, an archive or another binary file with the suffix of a table."""
    suffix = path.suffix.lower()
    with path.open("rb") as file:
        head = file.read(16)
    magic = next((magic for magic in _MAGIC_BYTES if head.startswith(magic)), None)
    if magic and suffix not in _BINARY_SUFFIXES and suffix not in _SUFFIXES_BY_MAGIC.get(magic, ()):
        advice = "Bring a table or JSON lines."
        if "Office" in _MAGIC_BYTES[magic]:
            advice = SAVE_AS_CSV_ADVICE
        if magic == b"PK\x03\x04":
            advice = f"Call a workbook .xlsx. {SAVE_AS_CSV_ADVICE}"
        if magic == b"PAR1":
            advice = "Call it .parquet."
        raise Problem(
            f"{path.name} is {_MAGIC_BYTES[magic]}, not {'a zip' if suffix == '.zip' else 'a table'}.",
            advice=advice,
            reason="unreadable_data",
        )
    if suffix == ".zip" and magic is None:
        raise Problem(f"{path.name} is no zip archive.", advice="Pack it again.", reason="unreadable_data")
