"""Fuzzed files: whatever bytes lie in them, and whatever rows, reading ends in rows or in a sentence."""

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
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as some
from pyarrow import parquet

from app.core.problems import Problem
from app.data import files, source_preview
from app.data.unreadable_rows import UnreadableRows
from app.engine.datasets.load import load_data
from app.setup.spec import Source, parse_spec

quick = settings(max_examples=25, deadline=None, database=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])  # fmt: skip

LETTERS = some.text(some.characters(codec="utf-8"), max_size=30) | some.sampled_from(["🜁👩‍👩‍👧", "\x00\x1b[2J", "\u202e", "x" * 20_000, "", " ", "a,b;c\t\"d\"\n'e'"])  # fmt: skip
VALUES = some.recursive(
    some.none() | some.booleans() | some.integers() | some.floats() | LETTERS,
    lambda inner: some.lists(inner, max_size=4) | some.dictionaries(LETTERS, inner, max_size=4),
    max_leaves=8,
)
COLUMNS = some.sampled_from(["messages", "prompt", "completion", "text", "chosen", "rejected", "conversations", "label", "images", "q", ""]) | LETTERS  # fmt: skip
ROWS = some.lists(some.dictionaries(COLUMNS, VALUES, max_size=5), max_size=6)


def seen(path: Path, **how: Any) -> None:
    """Reads it all, shows it, and makes what is learned of it. Anything but a Problem of one line fails."""
    source = {"source": f"path:{path}", **how}
    problems = [said(deed) for deed in (
        lambda: list(files.read_source_rows(Source.model_validate(source), unreadable=UnreadableRows())),
        lambda: json.dumps(source_preview.preview_source({"source": source, "method": "sft"})),
        lambda: load_data(parse_spec({"method": "sft", "data": [source]}), ("messages", "prompt_completion", "text"), "Imitate", True),
    )]  # fmt: skip
    assert not any("\n" in one or "Something broke" in one for one in problems)


def said(deed: Callable[[], Any]) -> str:
    try:
        deed()
    except Problem as problem:
        return str(problem)
    return ""


def whole(kind: str) -> bytes:
    """A small file of a kind, with nothing wrong in it."""
    rows = [{"prompt": f"größer {i}", "completion": f'"{i}", he said'} for i in range(20)]
    out = io.BytesIO()
    if kind == ".parquet":
        parquet.write_table(pyarrow.Table.from_pylist(rows), out)
    elif kind in (".arrow", ".feather"):
        table = pyarrow.Table.from_pylist(rows)
        with (pyarrow.ipc.new_stream if kind == ".arrow" else pyarrow.ipc.new_file)(out, table.schema) as made:
            made.write_table(table)
    elif kind == ".zip":
        with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr("a.jsonl", whole(".jsonl"))
    elif kind in (".csv", ".tsv"):
        told = io.StringIO()
        table = csv.DictWriter(told, list(rows[0]), delimiter="\t" if kind == ".tsv" else ",")
        table.writeheader()
        table.writerows(rows)
        return told.getvalue().encode()
    else:
        told = json.dumps(rows) if kind == ".json" else "".join(json.dumps(row) + "\n" for row in rows)
        return gzip.compress(told.encode()) if kind == files.GZIP_SUFFIX else told.encode()
    return out.getvalue()


KINDS = some.sampled_from([f".jsonl{one}" if one == files.GZIP_SUFFIX else one for one in files.SUFFIXES])


@settings(quick, max_examples=60)
@given(kind=KINDS, content=some.binary(max_size=300), skips=some.booleans())
def test_any_bytes_end_in_rows_or_in_a_sentence(kind: str, content: bytes, skips: bool, tmp_path: Path, home: Path) -> None:  # fmt: skip
    path = tmp_path / f"a{kind}"
    path.write_bytes(content)
    seen(path, skip_bad=skips)


@settings(quick, max_examples=80)
@given(kind=KINDS, place=some.floats(0, 1), put=some.binary(min_size=1, max_size=8), cut=some.booleans(), skips=some.booleans())  # fmt: skip
@example(kind=".zip", place=0.25, put=b"\0", cut=False, skips=False)
def test_a_damaged_file_ends_in_rows_or_in_a_sentence(kind: str, place: float, put: bytes, cut: bool, skips: bool, tmp_path: Path, home: Path) -> None:  # fmt: skip
    content = whole(files.file_suffix(f"a{kind}") if kind != ".jsonl.gz" else files.GZIP_SUFFIX)
    at = int(place * len(content))
    (tmp_path / f"a{kind}").write_bytes(content[:at] if cut else content[:at] + put + content[at + len(put) :])
    seen(tmp_path / f"a{kind}", skip_bad=skips)


@quick
@given(rows=ROWS, lines=some.booleans())
@example(rows=[{"messages": [[[{"role": None}]]]}, {}, {"messages": "x" * 1_500_000}], lines=True)
def test_any_rows_of_json_are_read_shown_and_learned_or_refused(rows: list[dict[str, Any]], lines: bool, tmp_path: Path, home: Path) -> None:  # fmt: skip
    path = tmp_path / ("a.jsonl" if lines else "a.json")
    path.write_text("".join(json.dumps(row) + "\n" for row in rows) if lines else json.dumps(rows), encoding="utf-8")
    seen(path)


@quick
@given(rows=some.lists(some.lists(LETTERS, max_size=4), max_size=6), headless=some.booleans())
def test_any_table_is_read_shown_and_learned_or_refused(rows: list[list[str]], headless: bool, tmp_path: Path, home: Path) -> None:  # fmt: skip
    path = tmp_path / "a.csv"
    with path.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows(rows)
    seen(path, headless=headless)


@quick
@given(rows=ROWS)
def test_any_typed_table_is_read_shown_and_learned_or_refused(rows: list[dict[str, Any]], tmp_path: Path, home: Path) -> None:  # fmt: skip
    try:
        table = pyarrow.Table.from_pylist(rows)
        parquet.write_table(table, tmp_path / "a.parquet")
    except (pyarrow.ArrowException, OverflowError, TypeError, ValueError):
        return  # no such table can be
    seen(tmp_path / "a.parquet")
