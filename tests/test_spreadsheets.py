"""Spreadsheets: the first sheet with rows is read with computed values and dates as text; bombs and damaged workbooks are refused."""

from __future__ import annotations

import datetime
import tracemalloc
import zipfile
from pathlib import Path
from typing import Any

import openpyxl
import pytest

from app.core.problems import Problem
from app.core.workspace import local_workspace
from app.data.findings.source_report import report_source
from app.data.reading import file_scan, files, uploads
from app.setup.spec import Source

HEADER = ["question", "answer"]
SHEET_ROWS = [["How deep?", "Nine metres."], ["How wide?", "As a barn."]]
EXPECTED_ROWS = [dict(zip(HEADER, cells, strict=True)) for cells in SHEET_ROWS]


def write_workbook(path: Path, *sheets: list[list[Any]], hidden: int | None = None) -> Source:
    workbook = openpyxl.Workbook()
    workbook.remove(workbook.active)
    for number, rows in enumerate(sheets):
        sheet = workbook.create_sheet(f"Sheet {number}")
        sheet.sheet_state = "hidden" if number == hidden else "visible"
        for cells in rows:
            sheet.append(cells)
    workbook.save(path)
    return Source(source=f"path:{path}")


def read_rows(source: Source) -> list[dict[str, Any]]:
    return list(files.read_source_rows(source))


def test_a_workbook_is_read_as_a_table(tmp_path: Path) -> None:
    source = write_workbook(tmp_path / "a.xlsx", [HEADER, *SHEET_ROWS])
    assert read_rows(source) == EXPECTED_ROWS
    assert read_rows(source.model_copy(update={"headless": True}))[0] == {"column_1": "question", "column_2": "answer"}
    report = report_source(source)
    assert (report.layout, report.certainty, report.findings) == ("pair", "sure", [])


def test_the_first_visible_sheet_with_rows_is_read_and_named(tmp_path: Path) -> None:
    shifted = [[], [None, *HEADER], *([None, *cells] for cells in SHEET_ROWS), [None, "", " "]]
    source = write_workbook(tmp_path / "a.xlsx", [["a"], ["b"]], [["only a title"]], shifted, [["x"], ["y"]], hidden=0)
    assert read_rows(source) == EXPECTED_ROWS
    assert "“Sheet 2” is read" in report_source(source).findings[0]["text"]


def test_dates_become_text_and_numbers_stay_numbers(tmp_path: Path) -> None:
    cells = [datetime.date(2026, 5, 1), datetime.datetime(2026, 5, 1, 13, 30), datetime.time(8, 5), 4, 2.5, True, None]
    source = write_workbook(tmp_path / "a.xlsx", [["a", "b", "c", "d", "e", "f", "g"], cells])
    assert [*read_rows(source)[0].values()] == ["2026-05-01", "2026-05-01 13:30:00", "08:05:00", 4, 2.5, True, None]


def test_a_formula_is_its_last_computed_value(tmp_path: Path) -> None:
    path = tmp_path / "a.xlsx"
    write_workbook(path, [HEADER, ["How much?", "=3*4"]])
    members = {}
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    sheet = "xl/worksheets/sheet1.xml"
    members[sheet] = members[sheet].replace(b"<f>3*4</f><v></v>", b"<f>3*4</f><v>12</v>").replace(b"<f>3*4</f><v />", b"<f>3*4</f><v>12</v>")  # fmt: skip
    write_archive(path, members)
    assert read_rows(Source(source=f"path:{path}")) == [{"question": "How much?", "answer": 12}]


def write_archive(path: Path, members: dict[str, bytes]) -> None:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)


def changed_workbook(path: Path, member: str, content: bytes) -> Source:
    write_workbook(path, [HEADER, *SHEET_ROWS])
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    write_archive(path, members | {member: content})
    return Source(source=f"path:{path}")


def refusal(source: Source) -> str:
    with pytest.raises(Problem) as excinfo:
        read_rows(source)
    return excinfo.value.text


def test_a_zip_bomb_is_refused_before_it_is_unpacked(tmp_path: Path) -> None:
    source = changed_workbook(tmp_path / "a.xlsx", "xl/sharedStrings.xml", b" " * 150_000_000)
    assert (tmp_path / "a.xlsx").stat().st_size < 1_000_000
    tracemalloc.start()
    text = refusal(source)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert "over the limit of 100 MB" in text
    assert peak < 20_000_000


def test_entities_that_grow_are_refused(tmp_path: Path) -> None:
    entities = "".join(f'<!ENTITY e{n} "{f"&e{n - 1};" * 10 if n else "x" * 100}">' for n in range(9))
    sheet = f'<!DOCTYPE worksheet [{entities}]><worksheet><sheetData><row><c t="str"><v>&e8;</v></c></row></sheetData></worksheet>'
    source = changed_workbook(tmp_path / "a.xlsx", "xl/worksheets/sheet1.xml", sheet.encode())
    assert "damaged" in refusal(source)


@pytest.mark.parametrize(
    ("content", "reason"),
    [(b"PK\x03\x04 and no more", "no Excel workbook"), (b"question,answer\n1,2\n", "no Excel workbook"), (b"\xd0\xcf\x11\xe0 locked", "an old Office file")],
)  # fmt: skip
def test_what_is_no_workbook_is_refused(content: bytes, reason: str, tmp_path: Path) -> None:
    (tmp_path / "a.xlsx").write_bytes(content)
    assert reason in refusal(Source(source=f"path:{tmp_path / 'a.xlsx'}"))


def test_a_damaged_sheet_is_refused(tmp_path: Path) -> None:
    source = changed_workbook(tmp_path / "a.xlsx", "xl/worksheets/sheet1.xml", b"<worksheet><sheetData><row><c>")
    assert "damaged" in refusal(source)


def test_a_workbook_with_another_ending_is_refused_with_the_right_one(tmp_path: Path) -> None:
    write_workbook(tmp_path / "a.xlsx", [HEADER, *SHEET_ROWS])
    (tmp_path / "a.xlsx").rename(tmp_path / "a.csv")
    with pytest.raises(Problem) as excinfo:
        read_rows(Source(source=f"path:{tmp_path / 'a.csv'}"))
    assert "Call a workbook .xlsx" in excinfo.value.advice


def test_an_uploaded_workbook_is_scanned_and_described(tmp_path: Path) -> None:
    write_workbook(tmp_path / "a.xlsx", [["only a title"]], [HEADER, *SHEET_ROWS])
    description = uploads.store_upload(local_workspace(), tmp_path / "a.xlsx", "ann")
    assert (description["rows"], description["layout"], description["headless"]) == (2, None, False)
    assert [finding["id"] for finding in description["findings"]] == ["file_form"]
    source = Source(source=description["source"])
    file_scan.require_readable(source)
    assert read_rows(source) == EXPECTED_ROWS
