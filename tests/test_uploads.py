"""Uploads: a file is read to its end before it is stored; an unreadable file is refused with one sentence and removed."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pyarrow
import pytest
from pyarrow import parquet

from app.core.problems import Problem
from app.core.workspace import local_workspace
from app.data.reading import file_scan, files, uploads
from app.setup.spec import Source

JSONL_CONTENT = b'{"question": "One?", "answer": "1"}\n{"question": "Two?", "answer": "2"}\n'
CSV_CONTENT = b'question,answer\nOne?,1\n"Two, or ""more""?",2\n'


def parquet_bytes(tmp_path: Path) -> bytes:
    parquet.write_table(pyarrow.table({"question": ["One?", "Two?"], "answer": ["1", "2"]}), tmp_path / "made.parquet")
    return (tmp_path / "made.parquet").read_bytes()


def upload_file(content: bytes, file_name: str, owner: str = "me") -> dict[str, Any]:
    async def chunks() -> AsyncIterator[bytes]:
        for start in range(0, len(content), 7):
            yield content[start : start + 7]

    async def receive() -> dict[str, Any]:
        async with uploads.receive_upload(local_workspace(), chunks(), file_name) as path:
            return uploads.store_upload(local_workspace(), path, owner)

    return asyncio.run(receive())


def stored_files(home: Path) -> list[Path]:
    return [path for path in (home / "uploads").rglob("[!.]*") if path.is_file()]


@pytest.mark.parametrize("file_name", ["a.jsonl", "a.csv", "a.parquet", "A.CSV"])
def test_an_uploaded_file_is_stored_under_its_hash_and_its_rows_can_be_read(
    file_name: str, home: Path, tmp_path: Path
) -> None:
    content = {".jsonl": JSONL_CONTENT, ".csv": CSV_CONTENT, ".parquet": parquet_bytes(tmp_path)}[file_name[1:].lower()]
    description = upload_file(content, file_name)
    path = files.source_path(Source(source=description["source"]))
    assert path is not None
    assert path.read_bytes() == content
    assert files.display_name(Source(source=description["source"])) == description["name"]
    assert path.parent == home / "uploads" / "me" / files.file_sha256(path)
    assert description["rows"] == 2
    assert description["columns"][0] == {"name": "question", "example": "One?"}
    assert [row["answer"] for row in files.read_file_rows(path)] == ["1", "2"]
    assert description["layout"] is None


def test_the_same_content_is_stored_once_per_file_type(home: Path) -> None:
    assert upload_file(JSONL_CONTENT, "a.jsonl")["source"] == upload_file(JSONL_CONTENT, "b.jsonl")["source"]
    assert len(stored_files(home)) == 1
    text_upload = upload_file(JSONL_CONTENT, "a.txt")
    assert text_upload["layout"] == "text"
    assert files.source_path(Source(source=text_upload["source"])).suffix == ".txt"
    assert len(stored_files(home)) == 2


@pytest.mark.parametrize(("content", "headless"), [
    (CSV_CONTENT, False), (b"My lamp is broken.,Repairs\nWhere is it?,Shipping\n", True), (b"what it is,3\nx,4\n", True), (b"The customer's message,team\nx,y\n", False),
])  # fmt: skip
def test_a_table_without_a_header_is_reported(content: bytes, headless: bool, home: Path) -> None:
    assert upload_file(content, "a.csv")["headless"] is headless
    assert upload_file(JSONL_CONTENT, "a.jsonl")["headless"] is False


UNREADABLE_FILES = {
    "of the wrong kind": (b"PK\x03\x04", "a.xls", "“.xls” cannot be read. In a spreadsheet: Save as"),
    "without an ending": (b"hello", "a", "without an ending"),
    "with nothing in it": (b"", "a.csv", "a.csv is empty"),
    "with a heading only": (b"question,answer\n", "a.csv", "holds no examples"),
    "with nothing but a stray quote": (b'question,answer\nTwo?,"2\n', "a.csv", "line 2 is not closed"),
    "broken in its only line": (b'{"question": ', "a.jsonl", "line 1 is not JSON"),
    "that only says it is Parquet": (b"PAR1 but not really", "a.parquet", "a.parquet cannot be read"),
    "with text after a quote": (
        b'q,a\n"So "b" it is",1\n',
        "a.csv",
        "line 2 text follows a closed quote; a quote within",
    ),
    "that is a picture": (b"\x89PNG\r\n\x1a\n" + bytes(40), "a.csv", "a.csv is a PNG picture, not a table"),
    "that is a workbook": (b"PK\x03\x04" + bytes(40), "a.csv", "Save as → CSV UTF-8"),
    "that is a table in Parquet": (
        b"PAR1" + bytes(40),
        "a.csv",
        "a.csv is a Parquet file, not a table. Call it .parquet",
    ),
    "packed without a name": (b"\x1f\x8b", "a.gz", "Name also what is packed"),
    "that is no archive": (b"hello", "a.zip", "a.zip is no zip archive"),
    "with half a character": (b'{"text": "\\ud800"}\n', "a.jsonl", "half of a character"),
}


@pytest.mark.parametrize("case", UNREADABLE_FILES)
def test_an_unreadable_file_is_refused_and_leaves_no_file(case: str, home: Path) -> None:
    readable_upload = upload_file(JSONL_CONTENT, "good.jsonl")
    content, file_name, message = UNREADABLE_FILES[case]
    with pytest.raises(Problem, match=message) as raised:
        upload_file(content, file_name)
    assert raised.value.advice
    assert "\n" not in str(raised.value)
    assert [path.name for path in stored_files(home)] == ["good.jsonl"]
    assert uploads.describe_source(readable_upload["source"])["name"] == "good.jsonl"


# -- files with bad rows, which the user may skip -----------------------------------------------------------------

PARTLY_READABLE_FILES = {
    "a stray quote": (b'question,answer\nOne?,1\nTwo?,"2\nThree?,3\n', "a.csv", "line 3 is not closed", 2, [2]),
    "a broken last line": (JSONL_CONTENT + b'{"question": ', "a.jsonl", "line 3 is not JSON", 2, [3]),
    "a comma that is not in quotes": (b"q,a\nOne, two?,1\nx,2\n", "a.csv", "3 cells, and there are 2 columns", 1, [1]),
    "mixed encodings": ("q,a\ngrün,1\n".encode() + "grün,2\n".encode("latin-1"), "a.csv", r"line 3 is not text in UTF-8 \(byte 14\)", 1, [2]),
}  # fmt: skip


@pytest.mark.parametrize("case", PARTLY_READABLE_FILES)
def test_bad_rows_are_skipped_only_when_the_source_allows_it(case: str, home: Path) -> None:
    content, file_name, message, row_count, bad_rows = PARTLY_READABLE_FILES[case]
    description = upload_file(content, file_name)
    [finding] = description["findings"]
    assert re.search(message, finding["text"])
    assert (description["rows"], finding["severity"], finding["count"], finding["rows"]) == (
        row_count,
        "wrong",
        1,
        bad_rows,
    )
    assert finding["remedy"]["changes"] == {"data.0.skip_bad": True}
    assert message.partition("\\")[0] in str(uploads.unreadable_upload_problem(description))
    with pytest.raises(Problem, match=message):
        list(files.read_source_rows(Source(source=description["source"])))
    with pytest.raises(Problem, match="cannot be read as it is"):
        file_scan.require_readable(Source(source=description["source"]))
    source_without_bad_rows = Source(source=description["source"], skip_bad=True)
    file_scan.require_readable(source_without_bad_rows)
    assert len(list(files.read_source_rows(source_without_bad_rows))) == row_count
    [finding_when_skipped] = uploads.describe_source(description["source"], source_index=3, skip_bad=True)["findings"]
    assert (finding_when_skipped["severity"], finding_when_skipped["remedy"]) == ("careful", None)
    assert finding_when_skipped["text"].endswith("It is left out.")
    [finding_of_fourth_source] = uploads.describe_source(description["source"], source_index=3)["findings"]
    assert finding_of_fourth_source["remedy"]["changes"] == {"data.3.skip_bad": True}


def test_another_encoding_is_suggested_but_never_applied_by_itself(home: Path) -> None:
    description = upload_file("prénom,âge\nZoë,3\n".encode("cp1252"), "a.csv")
    assert (description["columns"], description["rows"]) == ([], 0)
    [finding] = description["findings"]
    assert "Windows-1252" in finding["text"]
    assert finding["remedy"]["changes"] == {"data.0.encoding": "windows-1252"}
    decoded_description = uploads.describe_source(description["source"], encoding="windows-1252")
    assert [column["name"] for column in decoded_description["columns"]] == ["prénom", "âge"]
    assert (decoded_description["rows"], decoded_description["findings"]) == (1, [])
    [row] = files.read_source_rows(Source(source=description["source"], encoding="windows-1252"))
    assert row == {"prénom": "Zoë", "âge": "3"}


def test_characters_outside_windows_1252_lead_to_the_suggestion_of_latin_1(home: Path) -> None:
    [finding] = upload_file("q,a\nx,y\ncaf\u00e9 \u0081,1\n".encode("latin-1"), "a.csv")["findings"][:1]
    assert finding["remedy"]["changes"] == {"data.0.encoding": "latin-1"}


def test_a_parquet_file_that_expands_beyond_the_memory_limit_is_refused(home: Path, tmp_path: Path) -> None:
    """The dictionary-encoded file has a few hundred bytes and would expand to thirty gigabytes."""
    dictionary_array = pyarrow.DictionaryArray.from_arrays(
        pyarrow.array([0] * 3_000_000, pyarrow.int32()), ["z" * 10_000]
    )
    list_array = pyarrow.ListArray.from_arrays(pyarrow.array([0, 3_000_000], pyarrow.int32()), dictionary_array)
    parquet.write_table(
        pyarrow.table({"a": list_array}), tmp_path / "b.parquet", compression="zstd", store_schema=False
    )
    content = (tmp_path / "b.parquet").read_bytes()
    assert len(content) < 1_000
    with pytest.raises(Problem, match="grows beyond the memory") as raised:
        upload_file(content, "b.parquet")
    assert raised.value.reason == "too_large"
    assert stored_files(home) == []


def test_a_truncated_parquet_file_is_refused(home: Path, tmp_path: Path) -> None:
    parquet_content = parquet_bytes(tmp_path)
    for content in (
        parquet_content[:-20],
        parquet_content[: len(parquet_content) // 2],
        b"PAR1" + bytes(100) + parquet_content[-60:],
    ):
        with pytest.raises(Problem, match=r"a\.parquet cannot be read"):
            upload_file(content, "a.parquet")
    assert stored_files(home) == []


def test_an_upload_over_the_size_limit_is_stopped_early(home: Path) -> None:
    sent_bytes = 0

    async def endless() -> AsyncIterator[bytes]:
        nonlocal sent_bytes
        while True:
            sent_bytes += 100_000
            yield b"x" * 100_000

    async def receive() -> None:
        async with uploads.receive_upload(local_workspace(), endless(), "a.jsonl", max_bytes=1_000_000):
            pass

    with pytest.raises(Problem, match="larger than 1 MB"):
        asyncio.run(receive())
    assert sent_bytes < 1_300_000
    assert stored_files(home) == []


@pytest.mark.parametrize(("file_name", "safe_name"), [
    ("../../etc/passwd.csv", "passwd.csv"), ("..\\..\\boot.csv", "boot.csv"), ("/a/b.csv", "b.csv"), (".hidden.csv", "hidden.csv"), (" .csv", "examples.csv"),
    ("a\0b\n\x1b[2J.csv", "a_b___2J.csv"), ("<img src=x onerror=alert(1)>.csv", "_img src_x onerror_alert(1)_.csv"), ("\u202egpj.csv", "_gpj.csv"),
    ("Grüße 🜁.csv", "Grüße _.csv"), ("x" * 500 + ".csv", "x" * 100 + ".csv"),
    ("例" * 100 + ".csv", "例" * 33 + ".csv"),
])  # fmt: skip
def test_a_hostile_file_name_is_sanitized(file_name: str, safe_name: str, home: Path) -> None:
    description = upload_file(CSV_CONTENT, file_name, "../../elsewhere")
    assert description["name"] == safe_name
    assert stored_files(home) == [home / "uploads" / "elsewhere" / files.file_sha256(stored_files(home)[0]) / safe_name]
