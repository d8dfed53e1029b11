"""Files: every kind is read row by row in bounded memory, as the source says; what cannot be read is named with its place."""

from __future__ import annotations

import gzip
import io
import json
import zipfile
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import pyarrow
import pytest
from pyarrow import feather, ipc, parquet

from app.core import paths, registry
from app.core.problems import Problem
from app.data import archives, files, text_lines
from app.data.readers import json_file
from app.data.unreadable_rows import UnreadableRows
from app.setup.spec import Source, parse_spec

TWO = [{"prompt": "one", "completion": "1"}, {"prompt": "zwölf 🜁", "completion": "12"}]
LINES = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in TWO)
TABLE = "prompt,completion\none,1\nzwölf 🜁,12\n"


def brought(path: Path, content: str | bytes) -> str:
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return f"path:{path}"


def rows(source: str, unread: UnreadableRows | None = None, **how: Any) -> list[dict[str, Any]]:
    return list(files.read_source_rows(Source(source=source, **how), unreadable=unread))


def refusal(source: str, **how: Any) -> str:
    with pytest.raises(Problem) as found:
        rows(source, **how)
    assert found.value.advice
    assert "\n" not in str(found.value)
    return found.value.text


def left_out(source: str, **how: Any) -> tuple[list[dict[str, Any]], dict[int, str]]:
    """The rows that can be read, and why others cannot, by their numbers."""
    unread = UnreadableRows()
    return rows(source, unread, skip_bad=True, **how), unread.reasons_by_row


# -- kinds of files -----------------------------------------------------------------------------------------------


def test_every_reader_is_named_among_the_kinds() -> None:
    assert set(files.readers_by_suffix()) | {files.GZIP_SUFFIX} == set(files.SUFFIXES)
    assert all((registry.load_module("readers", name).__doc__ or "").strip() for name in registry.names("readers"))


def arrow_bytes(way: str, tmp_path: Path) -> bytes:
    table, path = pyarrow.Table.from_pylist(TWO), tmp_path / "made"
    if way == "feather":
        feather.write_feather(table, str(path))
    else:
        with (ipc.new_stream if way == "stream" else ipc.new_file)(str(path), table.schema) as made:
            made.write_table(table)
    return path.read_bytes()


@pytest.mark.parametrize(("name", "way"), [("a.arrow", "stream"), ("a.arrow", "file"), ("a.feather", "feather")])
def test_arrow_is_read_as_file_and_as_stream(name: str, way: str, tmp_path: Path) -> None:
    content = arrow_bytes(way, tmp_path)
    assert rows(brought(tmp_path / name, content)) == TWO
    assert "is not whole" in refusal(brought(tmp_path / name, content[: len(content) - 200]))


@pytest.mark.parametrize(("name", "content"), [("a.jsonl.gz", LINES), ("a.csv.gz", TABLE), ("a.json.gz", json.dumps(TWO)), ("a.TSV.GZ", TABLE.replace(",", "\t"))])  # fmt: skip
def test_packed_texts_are_unpacked_as_they_are_read(name: str, content: str, tmp_path: Path) -> None:
    packed = gzip.compress(content.encode())
    assert rows(brought(tmp_path / name, packed)) == TWO
    assert "cannot be read" in refusal(brought(tmp_path / name, packed[:-12]))


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be", "utf-8-sig"])
@pytest.mark.parametrize(("name", "content"), [("a.jsonl", LINES), ("a.csv", TABLE), ("a.json", json.dumps(TWO, ensure_ascii=False))])  # fmt: skip
def test_unicode_is_read_in_all_its_forms(name: str, content: str, encoding: str, tmp_path: Path) -> None:
    assert rows(brought(tmp_path / name, content.encode(encoding))) == TWO


def test_text_is_read_in_the_parts_that_a_person_wants(tmp_path: Path) -> None:
    source = brought(tmp_path / "a.txt", "One.\nTwo.\r\n\n\n Three.\n")
    assert [row["text"] for row in rows(source, parts="lines")] == ["One.", "Two.", "Three."]
    assert [row["text"] for row in rows(source, parts="paragraphs")] == ["One.\nTwo.", "Three."]
    assert [row["text"] for row in rows(source, parts="whole")] == ["One.\nTwo.\n\n\n Three."]


# -- tables -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
def test_what_stands_between_cells_shows_in_the_first_rows(delimiter: str, tmp_path: Path) -> None:
    content = delimiter.join(["question", "answer"]) + "\n" + f'"One{delimiter} two?"{delimiter}a, b; c\n' * 3
    [row, *_] = rows(brought(tmp_path / "a.csv", content.replace("a, b; c", "yes" if delimiter in ",;" else "a, b; c")))
    assert list(row) == ["question", "answer"]
    assert row["question"] == f"One{delimiter} two?"


def test_a_column_of_sentences_is_not_cut_at_its_commas(tmp_path: Path) -> None:
    source = brought(tmp_path / "a.csv", 'text\n"Hello, world"\nHi\n')
    assert rows(source) == [{"text": "Hello, world"}, {"text": "Hi"}]
    assert "line 2 has 2 cells, and there are 1 columns" in refusal(
        brought(tmp_path / "b.csv", "text\nHello, world\nHi\n")
    )


def test_a_table_without_a_heading_has_numbered_columns(tmp_path: Path) -> None:
    source = brought(tmp_path / "a.csv", "One?,1\nTwo?,2\n")
    assert rows(source, headless=True) == [{"column_1": "One?", "column_2": "1"}, {"column_1": "Two?", "column_2": "2"}]
    assert rows(source) == [{"One?": "Two?", "1": "2"}]


def test_columns_of_one_name_stay_apart(tmp_path: Path) -> None:
    assert rows(brought(tmp_path / "a.csv", "a,a,\n1,2,3\n")) == [{"a": "1", "a_2": "2", "column_3": "3"}]


def test_a_stray_quote_costs_its_own_line_and_no_other(tmp_path: Path) -> None:
    content = "q,a\n" + "x,1\n" * 500 + 'y,"2\n' + "z,3\n" * 500
    found, why = left_out(brought(tmp_path / "a.csv", content))
    assert len(found) == 1000
    assert why == {501: "a quote in the row of line 502 is not closed"}


# -- JSON ---------------------------------------------------------------------------------------------------------


def test_json_may_hold_its_list_among_other_things(tmp_path: Path) -> None:
    about = {"version": "1.0", "sizes": [1, 2], "none": [], "rows": TWO, "more": {"a": [{"b": 1}]}}
    assert rows(brought(tmp_path / "a.json", json.dumps(about, indent=1))) == TWO
    both = {"train": TWO, "test": TWO}
    assert "two lists of rows, “train” and “test”" in refusal(brought(tmp_path / "b.json", json.dumps(both)))


@pytest.mark.parametrize(("content", "said"), [
    ('[{"a": 1}, {"a": 2}', "ends too early, at character 19"), ('[{"a": 1}, {"a": 2},]', "character 20"), ('[{"a": 1} {"a": 2}]', "“{” stands at character 10"),
    ('[{"a": 1}] []', "something follows the end of its list, at character 11"), ('[{"a": 1}, 5]', "row 2 (character 11) is a int"),
    ('[{"a": "\\ud83d"}]', "row 1 (character 1) holds half of a character"), ('[{"a": ' + "[" * 200 + "]" * 200 + "}]", "nested too deeply"),
    (b'[{"a": "gr\xfcn"}]', "not text in UTF-8 (byte 10)"),
])  # fmt: skip
def test_broken_json_is_named_with_its_place(content: str | bytes, said: str, tmp_path: Path) -> None:
    assert said in refusal(brought(tmp_path / "a.json", content))


def test_rows_longer_than_what_is_read_at_once_are_whole(tmp_path: Path) -> None:
    many = [{"text": "é" * (json_file.CHUNK_LENGTH * (number % 3)), "number": number} for number in range(7)]
    assert rows(brought(tmp_path / "a.json", json.dumps(many, ensure_ascii=False))) == many


def test_numbers_are_not_rounded_and_nan_is_read(tmp_path: Path) -> None:
    huge, nothing = rows(brought(tmp_path / "a.jsonl", '{"a": 12345678901234567890123}\n{"a": NaN}\n'))
    assert huge == {"a": 12345678901234567890123}
    assert nothing["a"] != nothing["a"]


# -- what is too long ---------------------------------------------------------------------------------------------


class Endless(io.RawIOBase):
    """A file of one line without an end, and how much of it was asked for."""

    def __init__(self) -> None:
        self.given = 0

    def readable(self) -> bool:
        return True

    def readinto(self, into: Any) -> int:
        into[:] = b"x" * len(into)
        self.given += len(into)
        return len(into)


def test_a_line_of_any_length_is_refused_without_being_read() -> None:
    endless = Endless()
    number, start, bad = next(text_lines.read_lines(io.BufferedReader(endless), max_bytes=1_000_000))
    assert isinstance(bad, text_lines.UnreadableRow)
    assert (number, start) == (1, 0)
    assert "line 1 (from byte 0) is longer than 1 MB" in bad.reason
    assert endless.given < 1_200_000


@pytest.mark.parametrize(("name", "before", "content", "after"), [
    ("a.jsonl", '{"a": 1}\n', '{"a": "%s"}\n', '{"a": 2}\n'), ("a.csv", "a\n1\n", "%s\n", "2\n"), ("a.txt", "1\n\n", "%s\n\n", "2\n"),
])  # fmt: skip
def test_good_rows_around_a_line_that_is_too_long_are_read(name: str, before: str, content: str, after: str, tmp_path: Path) -> None:  # fmt: skip
    source = brought(tmp_path / name, before + content % ("x" * (text_lines.MAX_ROW_BYTES + 10)) + after)
    assert "longer than 32 MB" in refusal(source)
    found, why = left_out(source)
    assert len(found) == 2
    assert list(why) == [2]


# -- zip ----------------------------------------------------------------------------------------------------------

PICTURE = (paths.ROOT / "presets" / "samples" / "shapes" / "images" / "000.png").read_bytes()


def zipped(path: Path, inside: dict[Any, str | bytes]) -> str:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in inside.items():
            archive.writestr(name, content)
    return f"path:{path}"


def test_pictures_in_a_zip_come_with_the_table_beside_them(tmp_path: Path) -> None:
    row = {"image": "images/a.png", "prompt": "What is it?", "completion": "A shape."}
    inside = {"set/rows.jsonl": json.dumps(row), "set/images/a.png": PICTURE, "__MACOSX/set/._rows.jsonl": "x", "set/.DS_Store": "x", "set/readme.txt": "x"}  # fmt: skip
    source = zipped(tmp_path / "a.zip", inside)
    assert rows(source) == [row]
    assert (files.image_folder(tmp_path / "a.zip") / "images" / "a.png").read_bytes() == PICTURE
    named = zipped(tmp_path / "b.zip", {"metadata.csv": "file_name,text\na.png,A shape.\n", "a.png": PICTURE})
    assert rows(named) == [{"image": "a.png", "text": "A shape."}]


def test_pictures_alone_are_told_by_their_names(tmp_path: Path) -> None:
    source = zipped(tmp_path / "a.zip", {"cats/a_grey-cat 01.png": PICTURE, "7.png": PICTURE})
    assert rows(source) == [
        {"image": "7.png", "text": "7"},
        {"image": "cats/a_grey-cat 01.png", "text": "a grey cat", "folder": "cats"},
    ]


def link(name: str) -> zipfile.ZipInfo:
    made = zipfile.ZipInfo(name)
    made.external_attr = 0o120777 << 16
    return made


@pytest.mark.parametrize(("inside", "said"), [
    ({"../a.png": b""}, "would lie outside of it, “../a.png”"), ({"/etc/a.png": b""}, "outside"), ({"a/../../b.png": b""}, "outside"), ({"C:/a.png": b""}, "outside"),
    ({"..\\a.png": b""}, "outside"), ({link("a.png"): b"/etc/passwd"}, "holds a link, “a.png”"), ({"a.exe": b""}, "neither pictures nor a table"),
    ({"a.csv": b"", "b.csv": b""}, "holds 2 tables (a.csv, b.csv)"), ({"[Content_Types].xml": b""}, "is an Excel workbook"),
])  # fmt: skip
def test_an_archive_that_could_do_harm_is_refused(
    inside: dict[Any, bytes], said: str, tmp_path: Path, home: Path
) -> None:
    assert said in refusal(zipped(tmp_path / "a.zip", inside))
    assert not list(tmp_path.parent.glob("*.png"))


def test_an_archive_that_grows_is_refused_before_it_does(
    tmp_path: Path, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(archives, "_MAX_UNPACKED_BYTES", 1_000_000)
    source = zipped(tmp_path / "a.zip", {"a.jsonl": b"\n" * 2_000_000})
    assert (tmp_path / "a.zip").stat().st_size < 5_000
    assert "grows to" in refusal(source)
    assert not list((home / "cache").rglob("a.jsonl"))


def test_a_damaged_archive_is_named(tmp_path: Path) -> None:
    zipped(tmp_path / "a.zip", {"a.jsonl": LINES * 1000})
    whole = (tmp_path / "a.zip").read_bytes()
    assert "damaged or cut short" in refusal(brought(tmp_path / "b.zip", whole[:-40]))


# -- slices -------------------------------------------------------------------------------------------------------


def test_a_slice_is_counted_in_rows_of_the_file(tmp_path: Path) -> None:
    source = brought(tmp_path / "a.jsonl", '{"n": 0}\n{"n": 1}\nbroken\n{"n": 3}\n{"n": 4}\n')
    assert [row["n"] for row in rows(source, limit=2)] == [0, 1]
    assert [row["n"] for row in rows(source, start=3)] == [3, 4]
    assert left_out(source, start=1, limit=3) == ([{"n": 1}, {"n": 3}], {3: "line 3 is not JSON (Expecting value at its character 1)"})  # fmt: skip
    assert files.count_rows(Source(source=source, start=1, limit=3)) == 3
    assert files.count_rows(Source(source=source, start=9)) == 0


def test_a_damaged_part_of_parquet_costs_only_its_rows(tmp_path: Path) -> None:
    table = pyarrow.table({"n": [f"number {i}" for i in range(3000)]})
    parquet.write_table(table, tmp_path / "a.parquet", row_group_size=1000)
    whole = bytearray((tmp_path / "a.parquet").read_bytes())
    middle = parquet.ParquetFile(tmp_path / "a.parquet").metadata.row_group(1).column(0).dictionary_page_offset
    whole[middle + 30 : middle + 400] = bytes(370)
    source = brought(tmp_path / "b.parquet", bytes(whole))
    assert "row 1001 lies in a damaged part" in refusal(source)
    unread = UnreadableRows()
    found = rows(source, unread, skip_bad=True)
    assert (len(found), unread.count) == (2000, 1000)
    assert found[1000] == {"n": "number 2000"}


def test_the_first_rows_of_a_file_are_read_without_the_rest(tmp_path: Path) -> None:
    """What follows them is broken, and nobody hears of it."""
    for name, content in {
        "a.jsonl": LINES + "broken",
        "b.json": json.dumps(TWO)[:-1] + "broken",
        "c.csv": TABLE + 'x,"',
    }.items():
        found: Iterator[dict[str, Any]] = files.read_source_rows(Source(source=brought(tmp_path / name, content)))
        assert list(islice(found, 2)) == TWO


def test_every_file_of_a_setup_is_known(tmp_path: Path) -> None:
    other = brought(tmp_path / "a.jsonl", LINES)
    spec = parse_spec(
        {"method": "sft", "data": [{"source": "sample:tickets"}], "holdout": {"source": {"source": other}}}
    )
    assert list(files.local_files_of_spec(spec)) == ["sample:tickets", other]
    split = parse_spec({"method": "sft", "data": [{"source": "sample:tickets"}], "holdout": {"split": "holdout"}})
    assert [path.name for path in files.local_files_of_spec(split).values()] == ["train.jsonl", "holdout.jsonl"]
