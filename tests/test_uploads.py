"""Uploads: a file is read to its end before it is kept; what cannot be read is said in one sentence and leaves nothing."""

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
from app.data import file_scan, files, uploads
from app.setup.spec import Source

LINES = b'{"question": "One?", "answer": "1"}\n{"question": "Two?", "answer": "2"}\n'
TABLE = b'question,answer\nOne?,1\n"Two, or ""more""?",2\n'


def parquet_bytes(tmp_path: Path) -> bytes:
    parquet.write_table(pyarrow.table({"question": ["One?", "Two?"], "answer": ["1", "2"]}), tmp_path / "made.parquet")
    return (tmp_path / "made.parquet").read_bytes()


def sent(content: bytes, name: str, owner: str = "me") -> dict[str, Any]:
    async def chunks() -> AsyncIterator[bytes]:
        for start in range(0, len(content), 7):
            yield content[start : start + 7]

    return asyncio.run(uploads.receive_upload(local_workspace(), chunks(), name, owner))


def kept(home: Path) -> list[Path]:
    return [path for path in (home / "uploads").rglob("[!.]*") if path.is_file()]


@pytest.mark.parametrize("name", ["a.jsonl", "a.csv", "a.parquet", "A.CSV"])
def test_a_file_is_kept_under_its_hash_and_can_be_learned_from(name: str, home: Path, tmp_path: Path) -> None:
    content = {".jsonl": LINES, ".csv": TABLE, ".parquet": parquet_bytes(tmp_path)}[name[1:].lower()]
    said = sent(content, name)
    path = files.source_path(Source(source=said["source"]))
    assert path is not None
    assert path.read_bytes() == content
    assert files.display_name(Source(source=said["source"])) == said["name"]
    assert path.parent == home / "uploads" / "me" / files.file_sha256(path)
    assert said["rows"] == 2
    assert said["columns"][0] == {"name": "question", "example": "One?"}
    assert [row["answer"] for row in files.read_file_rows(path)] == ["1", "2"]
    assert said["layout"] is None


def test_the_same_bytes_are_kept_once_and_a_kind_of_its_own_each(home: Path) -> None:
    assert sent(LINES, "a.jsonl")["source"] == sent(LINES, "b.jsonl")["source"]
    assert len(kept(home)) == 1
    text = sent(LINES, "a.txt")
    assert text["layout"] == "text"
    assert files.source_path(Source(source=text["source"])).suffix == ".txt"
    assert len(kept(home)) == 2


@pytest.mark.parametrize(("content", "headless"), [
    (TABLE, False), (b"My lamp is broken.,Repairs\nWhere is it?,Shipping\n", True), (b"what it is,3\nx,4\n", True), (b"The customer's message,team\nx,y\n", False),
])  # fmt: skip
def test_a_table_whose_first_line_is_an_example_is_told(content: bytes, headless: bool, home: Path) -> None:
    assert sent(content, "a.csv")["headless"] is headless
    assert sent(LINES, "a.jsonl")["headless"] is False


BAD = {
    "of the wrong kind": (b"PK\x03\x04", "a.xlsx", "“.xlsx” cannot be read. In a spreadsheet: Save as"),
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


@pytest.mark.parametrize("case", BAD)
def test_a_file_is_refused_in_a_sentence_and_leaves_nothing(case: str, home: Path) -> None:
    before = sent(LINES, "good.jsonl")
    content, name, words = BAD[case]
    with pytest.raises(Problem, match=words) as found:
        sent(content, name)
    assert found.value.advice
    assert "\n" not in str(found.value)
    assert [path.name for path in kept(home)] == ["good.jsonl"]
    assert uploads.describe_source(before["source"])["name"] == "good.jsonl"


# -- kept for a person to decide ----------------------------------------------------------------------------------

PARTLY = {
    "a stray quote": (b'question,answer\nOne?,1\nTwo?,"2\nThree?,3\n', "a.csv", "line 3 is not closed", 2, [2]),
    "a broken last line": (LINES + b'{"question": ', "a.jsonl", "line 3 is not JSON", 2, [3]),
    "a comma that is not in quotes": (b"q,a\nOne, two?,1\nx,2\n", "a.csv", "3 cells, and there are 2 columns", 1, [1]),
    "mixed encodings": ("q,a\ngrün,1\n".encode() + "grün,2\n".encode("latin-1"), "a.csv", r"line 3 is not text in UTF-8 \(byte 14\)", 1, [2]),
}  # fmt: skip


@pytest.mark.parametrize("case", PARTLY)
def test_good_rows_are_kept_only_when_a_person_says_so(case: str, home: Path) -> None:
    content, name, words, count, rows = PARTLY[case]
    said = sent(content, name)
    [finding] = said["findings"]
    assert re.search(words, finding["text"])
    assert (said["rows"], finding["severity"], finding["count"], finding["rows"]) == (count, "wrong", 1, rows)
    assert finding["remedy"]["changes"] == {"data.0.skip_bad": True}
    assert words.partition("\\")[0] in str(uploads.unreadable_upload_problem(said))
    with pytest.raises(Problem, match=words):
        list(files.read_source_rows(Source(source=said["source"])))
    with pytest.raises(Problem, match="cannot be read as it is"):
        file_scan.require_readable(Source(source=said["source"]))
    agreed = Source(source=said["source"], skip_bad=True)
    file_scan.require_readable(agreed)
    assert len(list(files.read_source_rows(agreed))) == count
    [told] = uploads.describe_source(said["source"], source_index=3, skip_bad=True)["findings"]
    assert (told["severity"], told["remedy"]) == ("careful", None)
    assert told["text"].endswith("It is left out.")
    [asked] = uploads.describe_source(said["source"], source_index=3)["findings"]
    assert asked["remedy"]["changes"] == {"data.3.skip_bad": True}


def test_another_encoding_is_offered_and_never_guessed(home: Path) -> None:
    said = sent("prénom,âge\nZoë,3\n".encode("cp1252"), "a.csv")
    assert (said["columns"], said["rows"]) == ([], 0)
    [finding] = said["findings"]
    assert "Windows-1252" in finding["text"]
    assert finding["remedy"]["changes"] == {"data.0.encoding": "windows-1252"}
    read = uploads.describe_source(said["source"], encoding="windows-1252")
    assert [one["name"] for one in read["columns"]] == ["prénom", "âge"]
    assert (read["rows"], read["findings"]) == (1, [])
    [row] = files.read_source_rows(Source(source=said["source"], encoding="windows-1252"))
    assert row == {"prénom": "Zoë", "âge": "3"}


def test_letters_that_windows_has_not_are_offered_as_latin_1(home: Path) -> None:
    [finding] = sent("q,a\nx,y\ncaf\u00e9 \u0081,1\n".encode("latin-1"), "a.csv")["findings"][:1]
    assert finding["remedy"]["changes"] == {"data.0.encoding": "latin-1"}


def test_a_table_that_grows_in_memory_is_refused_and_the_page_lives(home: Path, tmp_path: Path) -> None:
    """300 bytes that say thirty gigabytes."""
    words = pyarrow.DictionaryArray.from_arrays(pyarrow.array([0] * 3_000_000, pyarrow.int32()), ["z" * 10_000])
    row = pyarrow.ListArray.from_arrays(pyarrow.array([0, 3_000_000], pyarrow.int32()), words)
    parquet.write_table(pyarrow.table({"a": row}), tmp_path / "b.parquet", compression="zstd", store_schema=False)
    content = (tmp_path / "b.parquet").read_bytes()
    assert len(content) < 1_000
    with pytest.raises(Problem, match="grows beyond the memory") as found:
        sent(content, "b.parquet")
    assert found.value.reason == "too_large"
    assert kept(home) == []


def test_a_parquet_file_cut_short_is_refused(home: Path, tmp_path: Path) -> None:
    whole = parquet_bytes(tmp_path)
    for content in (whole[:-20], whole[: len(whole) // 2], b"PAR1" + bytes(100) + whole[-60:]):
        with pytest.raises(Problem, match=r"a\.parquet cannot be read"):
            sent(content, "a.parquet")
    assert kept(home) == []


def test_a_file_that_is_too_large_is_refused_before_it_fills_the_disk(home: Path) -> None:
    taken = 0

    async def endless() -> AsyncIterator[bytes]:
        nonlocal taken
        while True:
            taken += 100_000
            yield b"x" * 100_000

    with pytest.raises(Problem, match="larger than 1 MB"):
        asyncio.run(uploads.receive_upload(local_workspace(), endless(), "a.jsonl", "me", max_bytes=1_000_000))
    assert taken < 1_300_000
    assert kept(home) == []


@pytest.mark.parametrize(("name", "plain"), [
    ("../../etc/passwd.csv", "passwd.csv"), ("..\\..\\boot.csv", "boot.csv"), ("/a/b.csv", "b.csv"), (".hidden.csv", "hidden.csv"), (" .csv", "examples.csv"),
    ("a\0b\n\x1b[2J.csv", "a_b___2J.csv"), ("<img src=x onerror=alert(1)>.csv", "_img src_x onerror_alert(1)_.csv"), ("\u202egpj.csv", "_gpj.csv"),
    ("Grüße 🜁.csv", "Grüße _.csv"), ("x" * 500 + ".csv", "x" * 100 + ".csv"),
    ("例" * 100 + ".csv", "例" * 33 + ".csv"),
])  # fmt: skip
def test_a_hostile_name_becomes_a_plain_one(name: str, plain: str, home: Path) -> None:
    said = sent(TABLE, name, "../../elsewhere")
    assert said["name"] == plain
    assert kept(home) == [home / "uploads" / "elsewhere" / files.file_sha256(kept(home)[0]) / plain]
