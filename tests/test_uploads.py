"""Uploads: a file is read to its end before it is kept; what cannot be read is said in one sentence and leaves nothing."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pyarrow
import pytest
from pyarrow import parquet

from app import files, uploads
from app.problems import Problem
from app.spec import Source

LINES = b'{"question": "One?", "answer": "1"}\n{"question": "Two?", "answer": "2"}\n'
TABLE = b'question,answer\nOne?,1\n"Two, or ""more""?",2\n'


def parquet_bytes(tmp_path: Path) -> bytes:
    parquet.write_table(pyarrow.table({"question": ["One?", "Two?"], "answer": ["1", "2"]}), tmp_path / "made.parquet")
    return (tmp_path / "made.parquet").read_bytes()


def sent(content: bytes, name: str, owner: str = "me") -> dict[str, Any]:
    async def chunks() -> AsyncIterator[bytes]:
        for start in range(0, len(content), 7):
            yield content[start : start + 7]

    return asyncio.run(uploads.receive(chunks(), name, owner))


def kept(home: Path) -> list[Path]:
    return [path for path in (home / "uploads").rglob("*") if path.is_file()]


@pytest.mark.parametrize("name", ["a.jsonl", "a.csv", "a.parquet", "A.CSV"])
def test_a_file_is_kept_under_its_hash_and_can_be_learned_from(name: str, home: Path, tmp_path: Path) -> None:
    content = {".jsonl": LINES, ".csv": TABLE, ".parquet": parquet_bytes(tmp_path)}[name[1:].lower()]
    said = sent(content, name)
    path = files.file_of(Source(source=said["source"]))
    assert path is not None
    assert path.read_bytes() == content
    assert files.name_of(Source(source=said["source"])) == said["name"]
    assert path.parent == home / "uploads" / "me" / files.fingerprint(path)
    assert said["rows"] == 2
    assert said["columns"][0] == {"name": "question", "example": "One?"}
    assert [row["answer"] for row in files.read(path)] == ["1", "2"]
    assert said["layout"] is None


def test_the_same_bytes_are_kept_once_and_a_kind_of_its_own_each(home: Path) -> None:
    assert sent(LINES, "a.jsonl")["source"] == sent(LINES, "b.jsonl")["source"]
    assert len(kept(home)) == 1
    text = sent(LINES, "a.txt")
    assert text["layout"] == "text"
    assert files.file_of(Source(source=text["source"])).suffix == ".txt"
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
    "with a stray quote": (b'question,answer\nOne?,1\nTwo?,"2\nThree?,3\n', "a.csv", "line 3 is not closed"),
    "broken in its last line": (LINES + b'{"question": ', "a.jsonl", "line 3 is not JSON"),
    "that only says it is Parquet": (b"PAR1 but not really", "a.parquet", "a.parquet cannot be read"),
    "with text after a quote": (
        b'q,a\n"So "b" it is",1\n',
        "a.csv",
        "line 2 text follows a closed quote; a quote within",
    ),
    "that is a picture": (b"\x89PNG\r\n\x1a\n" + bytes(40), "a.csv", "a.csv is a PNG picture, not a table"),
    "that is a workbook": (b"PK\x03\x04" + bytes(40), "a.csv", "Save as → CSV UTF-8"),
    "in another encoding": ("q,a\ngrün,x\n".encode("latin-1"), "a.csv", "not text in UTF-8"),
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
    assert uploads.look(before["source"])["name"] == "good.jsonl"


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
        asyncio.run(uploads.receive(endless(), "a.jsonl", "me", most=1_000_000))
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
    assert kept(home) == [home / "uploads" / "elsewhere" / files.fingerprint(kept(home)[0]) / plain]
