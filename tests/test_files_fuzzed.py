"""Fuzz tests of file reading: any bytes and any rows are either read or refused with a one-line Problem."""

from __future__ import annotations

import csv
import gzip
import io
import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from pyarrow import parquet

from app.core.problems import Problem
from app.data.findings import source_preview
from app.data.reading import files
from app.data.reading.unreadable_rows import UnreadableRows
from app.engine.datasets.load import load_data
from app.setup.spec import Source, parse_spec

quick_settings = settings(max_examples=8, deadline=None, database=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])  # fmt: skip

TEXTS = st.text(st.characters(codec="utf-8"), max_size=30) | st.sampled_from(["🜁👩‍👩‍👧", "\x00\x1b[2J", "\u202e", "x" * 20_000, "", " ", "a,b;c\t\"d\"\n'e'"])  # fmt: skip
JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | TEXTS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXTS, inner, max_size=4),
    max_leaves=8,
)
COLUMN_NAMES = st.sampled_from(["messages", "prompt", "completion", "text", "chosen", "rejected", "conversations", "label", "images", "q", ""]) | TEXTS  # fmt: skip
ROWS = st.lists(st.dictionaries(COLUMN_NAMES, JSON_VALUES, max_size=5), max_size=6)


def read_preview_and_load(path: Path, **source_options: Any) -> None:
    """Reads, previews and loads the file. Any exception other than a one-line Problem fails the test."""
    source = {"source": f"path:{path}", **source_options}
    problems = [problem_text(action) for action in (
        lambda: list(files.read_source_rows(Source.model_validate(source), unreadable=UnreadableRows())),
        lambda: json.dumps(source_preview.preview_source({"source": source, "method": "sft"})),
        lambda: load_data(parse_spec({"method": "sft", "data": [source]}), ("messages", "prompt_completion", "text"), "Imitate", True),
    )]  # fmt: skip
    assert not any("\n" in text or "Something broke" in text for text in problems)


def problem_text(action: Callable[[], Any]) -> str:
    try:
        action()
    except Problem as problem:
        return str(problem)
    return ""


def valid_file(suffix: str) -> bytes:
    """Content of a small valid file with this suffix."""
    rows = [{"prompt": f"größer {i}", "completion": f'"{i}", he said'} for i in range(20)]
    buffer = io.BytesIO()
    if suffix == ".parquet":
        parquet.write_table(pyarrow.Table.from_pylist(rows), buffer)
    elif suffix in (".arrow", ".feather"):
        table = pyarrow.Table.from_pylist(rows)
        with (pyarrow.ipc.new_stream if suffix == ".arrow" else pyarrow.ipc.new_file)(buffer, table.schema) as writer:
            writer.write_table(table)
    elif suffix == ".zip":
        with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr("a.jsonl", valid_file(".jsonl"))
    elif suffix in (".csv", ".tsv"):
        content = io.StringIO()
        table = csv.DictWriter(content, list(rows[0]), delimiter="\t" if suffix == ".tsv" else ",")
        table.writeheader()
        table.writerows(rows)
        return content.getvalue().encode()
    else:
        content = json.dumps(rows) if suffix == ".json" else "".join(json.dumps(row) + "\n" for row in rows)
        return gzip.compress(content.encode()) if suffix == files.GZIP_SUFFIX else content.encode()
    return buffer.getvalue()


FILE_SUFFIXES = st.sampled_from(
    [f".jsonl{suffix}" if suffix == files.GZIP_SUFFIX else suffix for suffix in files.SUFFIXES]
)


@pytest.mark.slow
@settings(quick_settings, max_examples=30)
@given(suffix=FILE_SUFFIXES, content=st.binary(max_size=300), skip_bad=st.booleans())
def test_a_file_of_random_bytes_is_read_or_refused_in_one_line(suffix: str, content: bytes, skip_bad: bool, tmp_path: Path, home: Path) -> None:  # fmt: skip
    path = tmp_path / f"a{suffix}"
    path.write_bytes(content)
    read_preview_and_load(path, skip_bad=skip_bad)


@pytest.mark.slow
@settings(quick_settings, max_examples=30)
@given(suffix=FILE_SUFFIXES, position=st.floats(0, 1), replacement=st.binary(min_size=1, max_size=8), truncate=st.booleans(), skip_bad=st.booleans())  # fmt: skip
@example(suffix=".zip", position=0.25, replacement=b"\0", truncate=False, skip_bad=False)
def test_a_damaged_file_is_read_or_refused_in_one_line(suffix: str, position: float, replacement: bytes, truncate: bool, skip_bad: bool, tmp_path: Path, home: Path) -> None:  # fmt: skip
    content = valid_file(files.file_suffix(f"a{suffix}") if suffix != ".jsonl.gz" else files.GZIP_SUFFIX)
    offset = int(position * len(content))
    (tmp_path / f"a{suffix}").write_bytes(
        content[:offset] if truncate else content[:offset] + replacement + content[offset + len(replacement) :]
    )
    read_preview_and_load(tmp_path / f"a{suffix}", skip_bad=skip_bad)


@pytest.mark.slow
@quick_settings
@given(rows=ROWS, as_json_lines=st.booleans())
@example(rows=[{"messages": [[[{"role": None}]]]}, {}, {"messages": "x" * 1_500_000}], as_json_lines=True)
def test_any_json_rows_are_loaded_or_refused_in_one_line(rows: list[dict[str, Any]], as_json_lines: bool, tmp_path: Path, home: Path) -> None:  # fmt: skip
    path = tmp_path / ("a.jsonl" if as_json_lines else "a.json")
    path.write_text(
        "".join(json.dumps(row) + "\n" for row in rows) if as_json_lines else json.dumps(rows), encoding="utf-8"
    )
    read_preview_and_load(path)


@pytest.mark.slow
@quick_settings
@given(rows=st.lists(st.lists(TEXTS, max_size=4), max_size=6), headless=st.booleans())
def test_any_csv_table_is_loaded_or_refused_in_one_line(rows: list[list[str]], headless: bool, tmp_path: Path, home: Path) -> None:  # fmt: skip
    path = tmp_path / "a.csv"
    with path.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows(rows)
    read_preview_and_load(path, headless=headless)


@pytest.mark.slow
@quick_settings
@given(rows=ROWS)
def test_any_parquet_table_is_loaded_or_refused_in_one_line(rows: list[dict[str, Any]], tmp_path: Path, home: Path) -> None:  # fmt: skip
    try:
        table = pyarrow.Table.from_pylist(rows)
        parquet.write_table(table, tmp_path / "a.parquet")
    except (pyarrow.ArrowException, OverflowError, TypeError, ValueError):
        return  # Arrow cannot represent these rows
    read_preview_and_load(tmp_path / "a.parquet")
