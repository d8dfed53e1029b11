"""Files: every format is read row by row in bounded memory; unreadable rows and files are reported with their position."""

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
from app.data.reading import archives, files, json_scanner, text_lines
from app.data.reading.unreadable_rows import UnreadableRows
from app.setup.spec import Source, parse_spec

TWO_ROWS = [{"prompt": "one", "completion": "1"}, {"prompt": "zwölf 🜁", "completion": "12"}]
JSONL_TEXT = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in TWO_ROWS)
CSV_TEXT = "prompt,completion\none,1\nzwölf 🜁,12\n"


def write_source(path: Path, content: str | bytes) -> str:
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return f"path:{path}"


def read_rows(source: str, unreadable: UnreadableRows | None = None, **source_options: Any) -> list[dict[str, Any]]:
    return list(files.read_source_rows(Source(source=source, **source_options), unreadable=unreadable))


def refusal_text(source: str, **source_options: Any) -> str:
    with pytest.raises(Problem) as excinfo:
        read_rows(source, **source_options)
    assert excinfo.value.advice
    assert "\n" not in str(excinfo.value)
    return excinfo.value.text


def read_skipping_bad_rows(source: str, **source_options: Any) -> tuple[list[dict[str, Any]], dict[int, str]]:
    """(readable rows, {row number: why it was skipped})."""
    unreadable = UnreadableRows()
    return read_rows(source, unreadable, skip_bad=True, **source_options), unreadable.reasons_by_row


# -- file formats -------------------------------------------------------------------------------------------------


def test_every_suffix_has_a_reader_with_a_docstring() -> None:
    assert set(files.readers_by_suffix()) | {files.GZIP_SUFFIX} == set(files.SUFFIXES)
    assert all((registry.load_module("readers", name).__doc__ or "").strip() for name in registry.names("readers"))


def arrow_bytes(arrow_format: str, tmp_path: Path) -> bytes:
    table, path = pyarrow.Table.from_pylist(TWO_ROWS), tmp_path / "made"
    if arrow_format == "feather":
        feather.write_feather(table, str(path))
    else:
        with (ipc.new_stream if arrow_format == "stream" else ipc.new_file)(str(path), table.schema) as writer:
            writer.write_table(table)
    return path.read_bytes()


@pytest.mark.parametrize(
    ("name", "arrow_format"), [("a.arrow", "stream"), ("a.arrow", "file"), ("a.feather", "feather")]
)
def test_arrow_files_streams_and_feather_files_are_read(name: str, arrow_format: str, tmp_path: Path) -> None:
    content = arrow_bytes(arrow_format, tmp_path)
    assert read_rows(write_source(tmp_path / name, content)) == TWO_ROWS
    assert "is not whole" in refusal_text(write_source(tmp_path / name, content[: len(content) - 200]))


@pytest.mark.parametrize(("name", "content"), [("a.jsonl.gz", JSONL_TEXT), ("a.csv.gz", CSV_TEXT), ("a.json.gz", json.dumps(TWO_ROWS)), ("a.TSV.GZ", CSV_TEXT.replace(",", "\t"))])  # fmt: skip
def test_gzip_text_files_are_read_and_truncated_ones_are_refused(name: str, content: str, tmp_path: Path) -> None:
    compressed = gzip.compress(content.encode())
    assert read_rows(write_source(tmp_path / name, compressed)) == TWO_ROWS
    assert "cannot be read" in refusal_text(write_source(tmp_path / name, compressed[:-12]))


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be", "utf-8-sig"])
@pytest.mark.parametrize(("name", "content"), [("a.jsonl", JSONL_TEXT), ("a.csv", CSV_TEXT), ("a.json", json.dumps(TWO_ROWS, ensure_ascii=False))])  # fmt: skip
def test_text_files_in_utf8_with_bom_and_utf16_are_read(name: str, content: str, encoding: str, tmp_path: Path) -> None:
    assert read_rows(write_source(tmp_path / name, content.encode(encoding))) == TWO_ROWS


def test_a_text_file_is_split_into_lines_paragraphs_or_not_at_all(tmp_path: Path) -> None:
    source = write_source(tmp_path / "a.txt", "One.\nTwo.\r\n\n\n Three.\n")
    assert [row["text"] for row in read_rows(source, parts="lines")] == ["One.", "Two.", "Three."]
    assert [row["text"] for row in read_rows(source, parts="paragraphs")] == ["One.\nTwo.", "Three."]
    assert [row["text"] for row in read_rows(source, parts="whole")] == ["One.\nTwo.\n\n\n Three."]


# -- tables -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
def test_the_csv_delimiter_is_detected_from_the_first_rows(delimiter: str, tmp_path: Path) -> None:
    content = delimiter.join(["question", "answer"]) + "\n" + f'"One{delimiter} two?"{delimiter}a, b; c\n' * 3
    [row, *_] = read_rows(
        write_source(tmp_path / "a.csv", content.replace("a, b; c", "yes" if delimiter in ",;" else "a, b; c"))
    )
    assert list(row) == ["question", "answer"]
    assert row["question"] == f"One{delimiter} two?"


def test_a_one_column_csv_is_not_split_at_commas_in_its_sentences(tmp_path: Path) -> None:
    source = write_source(tmp_path / "a.csv", 'text\n"Hello, world"\nHi\n')
    assert read_rows(source) == [{"text": "Hello, world"}, {"text": "Hi"}]
    assert "line 2 has 2 cells, and there are 1 columns" in refusal_text(
        write_source(tmp_path / "b.csv", "text\nHello, world\nHi\n")
    )


def test_a_csv_without_a_header_gets_numbered_columns(tmp_path: Path) -> None:
    source = write_source(tmp_path / "a.csv", "One?,1\nTwo?,2\n")
    assert read_rows(source, headless=True) == [
        {"column_1": "One?", "column_2": "1"},
        {"column_1": "Two?", "column_2": "2"},
    ]
    assert read_rows(source) == [{"One?": "Two?", "1": "2"}]


def test_duplicate_and_missing_column_names_are_numbered(tmp_path: Path) -> None:
    assert read_rows(write_source(tmp_path / "a.csv", "a,a,\n1,2,3\n")) == [{"a": "1", "a_2": "2", "column_3": "3"}]


@pytest.mark.parametrize(("header", "names"), [
    ("a,a,a_2", ["a", "a_3", "a_2"]),
    ("a_2,a,a", ["a_2", "a", "a_3"]),
    (",column_1,", ["column_2", "column_1", "column_3"]),
    ("b,b_2,b_2,b", ["b", "b_2", "b_2_2", "b_3"]),
])  # fmt: skip
def test_a_number_for_a_repeated_column_makes_no_name_of_another(header: str, names: list[str], tmp_path: Path) -> None:
    cells = [str(index) for index in range(len(names))]
    content = f"{header}\n{','.join(cells)}\n"
    assert read_rows(write_source(tmp_path / "a.csv", content)) == [dict(zip(names, cells, strict=True))]


def test_an_unclosed_quote_skips_only_its_own_row(tmp_path: Path) -> None:
    content = "q,a\n" + "x,1\n" * 500 + 'y,"2\n' + "z,3\n" * 500
    readable_rows, skip_reasons = read_skipping_bad_rows(write_source(tmp_path / "a.csv", content))
    assert len(readable_rows) == 1000
    assert skip_reasons == {501: "a quote in the row of line 502 is not closed"}


# -- JSON ---------------------------------------------------------------------------------------------------------


def test_a_json_object_may_hold_one_list_of_rows_among_other_fields(tmp_path: Path) -> None:
    document = {"version": "1.0", "sizes": [1, 2], "none": [], "rows": TWO_ROWS, "more": {"a": [{"b": 1}]}}
    assert read_rows(write_source(tmp_path / "a.json", json.dumps(document, indent=1))) == TWO_ROWS
    two_lists = {"mine": TWO_ROWS, "yours": TWO_ROWS}
    assert "two lists of rows, “mine” and “yours”" in refusal_text(
        write_source(tmp_path / "b.json", json.dumps(two_lists))
    )


@pytest.mark.parametrize(("content", "expected_text"), [
    ('[{"a": 1}, {"a": 2}', "ends too early, at character 19"), ('[{"a": 1} {"a": 2}]', "“{” stands at character 10"),
    ('[{"a": 1}] []', "something follows the end of its list, at character 11"), ('[{"a": 1}, 5]', "row 2 (character 11) is a int"),
    ('[{"a": "\\ud83d"}]', "row 1 (character 1) holds half of a character"), ('[{"a": ' + "[" * 200 + "]" * 200 + "}]", "nested too deeply"),
    (b'[{"a": "gr\xfcn"}]', "not text in UTF-8 (byte 10)"),
])  # fmt: skip
def test_broken_json_is_refused_with_its_position(content: str | bytes, expected_text: str, tmp_path: Path) -> None:
    assert expected_text in refusal_text(write_source(tmp_path / "a.json", content))


def test_json_rows_longer_than_one_chunk_are_read_completely(tmp_path: Path) -> None:
    long_rows = [{"text": "é" * (json_scanner.CHUNK_LENGTH * (number % 3)), "number": number} for number in range(7)]
    assert read_rows(write_source(tmp_path / "a.json", json.dumps(long_rows, ensure_ascii=False))) == long_rows


def test_big_integers_are_not_rounded_and_nan_is_read(tmp_path: Path) -> None:
    big_integer_row, nan_row = read_rows(
        write_source(tmp_path / "a.jsonl", '{"a": 12345678901234567890123}\n{"a": NaN}\n')
    )
    assert big_integer_row == {"a": 12345678901234567890123}
    assert nan_row["a"] != nan_row["a"]


# -- lines that are too long --------------------------------------------------------------------------------------


class EndlessLine(io.RawIOBase):
    """A stream of one line without an end; bytes_read counts what was read of it."""

    def __init__(self) -> None:
        self.bytes_read = 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        buffer[:] = b"x" * len(buffer)
        self.bytes_read += len(buffer)
        return len(buffer)


def test_an_endless_line_is_refused_after_the_size_limit() -> None:
    stream = EndlessLine()
    number, start, unreadable = next(text_lines.read_lines(io.BufferedReader(stream), max_bytes=1_000_000))
    assert isinstance(unreadable, text_lines.UnreadableRow)
    assert (number, start) == (1, 0)
    assert "line 1 (from byte 0) is longer than 1 MB" in unreadable.reason
    assert stream.bytes_read < 1_200_000


@pytest.mark.parametrize(("name", "before", "content", "after"), [
    ("a.jsonl", '{"a": 1}\n', '{"a": "%s"}\n', '{"a": 2}\n'), ("a.csv", "a\n1\n", "%s\n", "2\n"), ("a.txt", "1\n\n", "%s\n\n", "2\n"),
])  # fmt: skip
def test_rows_around_a_line_that_is_too_long_are_read(name: str, before: str, content: str, after: str, tmp_path: Path) -> None:  # fmt: skip
    source = write_source(tmp_path / name, before + content % ("x" * (text_lines.MAX_ROW_BYTES + 10)) + after)
    assert "longer than 32 MB" in refusal_text(source)
    readable_rows, skip_reasons = read_skipping_bad_rows(source)
    assert len(readable_rows) == 2
    assert list(skip_reasons) == [2]


# -- zip ----------------------------------------------------------------------------------------------------------

PNG_BYTES = (paths.ROOT / "presets" / "samples" / "shapes" / "images" / "000.png").read_bytes()


def write_zip(path: Path, members: dict[Any, str | bytes]) -> str:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return f"path:{path}"


def test_images_in_a_zip_are_read_with_the_table_beside_them(tmp_path: Path) -> None:
    row = {"image": "images/a.png", "prompt": "What is it?", "completion": "A shape."}
    members = {"set/rows.jsonl": json.dumps(row), "set/images/a.png": PNG_BYTES, "__MACOSX/set/._rows.jsonl": "x", "set/.DS_Store": "x", "set/readme.txt": "x"}  # fmt: skip
    source = write_zip(tmp_path / "a.zip", members)
    assert read_rows(source) == [row]
    assert (files.image_folder(tmp_path / "a.zip") / "images" / "a.png").read_bytes() == PNG_BYTES
    csv_source = write_zip(tmp_path / "b.zip", {"metadata.csv": "file_name,text\na.png,A shape.\n", "a.png": PNG_BYTES})
    assert read_rows(csv_source) == [{"image": "a.png", "text": "A shape."}]


def test_a_zip_of_images_alone_gets_texts_from_their_file_names(tmp_path: Path) -> None:
    source = write_zip(tmp_path / "a.zip", {"cats/a_grey-cat 01.png": PNG_BYTES, "7.png": PNG_BYTES})
    assert read_rows(source) == [
        {"image": "7.png", "text": "7"},
        {"image": "cats/a_grey-cat 01.png", "text": "a grey cat", "folder": "cats"},
    ]


def symlink_entry(name: str) -> zipfile.ZipInfo:
    entry = zipfile.ZipInfo(name)
    entry.external_attr = 0o120777 << 16
    return entry


@pytest.mark.parametrize(("members", "expected_text"), [
    ({"../a.png": b""}, "would lie outside of it, “../a.png”"), ({"/etc/a.png": b""}, "outside"), ({"a/../../b.png": b""}, "outside"), ({"C:/a.png": b""}, "outside"),
    ({"..\\a.png": b""}, "outside"), ({symlink_entry("a.png"): b"/etc/passwd"}, "holds a link, “a.png”"), ({"a.exe": b""}, "neither pictures nor a table"),
    ({"a.csv": b"", "b.csv": b""}, "holds 2 tables (a.csv, b.csv)"), ({"[Content_Types].xml": b""}, "is an Excel workbook"),
])  # fmt: skip
def test_an_unsafe_or_unusable_archive_is_refused(
    members: dict[Any, bytes], expected_text: str, tmp_path: Path, home: Path
) -> None:
    assert expected_text in refusal_text(write_zip(tmp_path / "a.zip", members))
    assert not list(tmp_path.parent.glob("*.png"))


def test_a_zip_bomb_is_refused_before_it_is_unpacked(
    tmp_path: Path, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(archives, "_MAX_UNPACKED_BYTES", 1_000_000)
    source = write_zip(tmp_path / "a.zip", {"a.jsonl": b"\n" * 2_000_000})
    assert (tmp_path / "a.zip").stat().st_size < 5_000
    assert "grows to" in refusal_text(source)
    assert not list((home / "cache").rglob("a.jsonl"))


def test_a_damaged_archive_is_refused(tmp_path: Path) -> None:
    write_zip(tmp_path / "a.zip", {"a.jsonl": JSONL_TEXT * 1000})
    archive_bytes = (tmp_path / "a.zip").read_bytes()
    assert "damaged or cut short" in refusal_text(write_source(tmp_path / "b.zip", archive_bytes[:-40]))


# -- slices -------------------------------------------------------------------------------------------------------


def test_start_and_limit_count_rows_of_the_file(tmp_path: Path) -> None:
    source = write_source(tmp_path / "a.jsonl", '{"n": 0}\n{"n": 1}\nbroken\n{"n": 3}\n{"n": 4}\n')
    assert [row["n"] for row in read_rows(source, limit=2)] == [0, 1]
    assert [row["n"] for row in read_rows(source, start=3)] == [3, 4]
    assert read_skipping_bad_rows(source, start=1, limit=3) == ([{"n": 1}, {"n": 3}], {3: "line 3 is not JSON (Expecting value at its character 1)"})  # fmt: skip
    assert files.count_rows(Source(source=source, start=1, limit=3)) == 3
    assert files.count_rows(Source(source=source, start=9)) == 0


def test_a_damaged_parquet_row_group_skips_only_its_own_rows(tmp_path: Path) -> None:
    table = pyarrow.table({"n": [f"number {i}" for i in range(3000)]})
    parquet.write_table(table, tmp_path / "a.parquet", row_group_size=1000)
    file_bytes = bytearray((tmp_path / "a.parquet").read_bytes())
    page_offset = parquet.ParquetFile(tmp_path / "a.parquet").metadata.row_group(1).column(0).dictionary_page_offset
    file_bytes[page_offset + 30 : page_offset + 400] = bytes(370)
    source = write_source(tmp_path / "b.parquet", bytes(file_bytes))
    assert "row 1001 lies in a damaged part" in refusal_text(source)
    unreadable = UnreadableRows()
    readable_rows = read_rows(source, unreadable, skip_bad=True)
    assert (len(readable_rows), unreadable.count) == (2000, 1000)
    assert readable_rows[1000] == {"n": "number 2000"}


def test_the_first_rows_are_read_although_the_rest_is_broken(tmp_path: Path) -> None:
    """The rest of the file is broken, which raises nothing."""
    for name, content in {
        "a.jsonl": JSONL_TEXT + "broken",
        "b.json": json.dumps(TWO_ROWS)[:-1] + "broken",
        "c.csv": CSV_TEXT + 'x,"',
    }.items():
        row_iterator: Iterator[dict[str, Any]] = files.read_source_rows(
            Source(source=write_source(tmp_path / name, content))
        )
        assert list(islice(row_iterator, 2)) == TWO_ROWS


def test_local_files_of_spec_lists_training_and_holdout_files(tmp_path: Path) -> None:
    holdout_source = write_source(tmp_path / "a.jsonl", JSONL_TEXT)
    spec = parse_spec(
        {"method": "sft", "data": [{"source": "sample:tickets"}], "holdout": {"source": {"source": holdout_source}}}
    )
    assert list(files.local_files_of_spec(spec)) == ["sample:tickets", holdout_source]
    split_spec = parse_spec({"method": "sft", "data": [{"source": "sample:tickets"}], "holdout": {"split": "holdout"}})
    assert [path.name for path in files.local_files_of_spec(split_spec).values()] == ["train.jsonl", "holdout.jsonl"]
