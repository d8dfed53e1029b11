"""Records: small JSON files with a version; files of older versions are migrated when they are read."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from app.core.json_files import DamagedFile
from app.core.problems import Problem
from app.runs import records
from app.runs.records import read_record, write_record


def test_the_version_of_a_record_is_stored_but_not_returned(tmp_path: Path) -> None:
    write_record(tmp_path / "launch.json", {"machine": "local"})
    assert json.loads((tmp_path / "launch.json").read_text()) == {"v": records.VERSION, "machine": "local"}
    assert read_record(tmp_path / "launch.json") == {"machine": "local"}


def test_a_record_without_a_version_is_read_as_the_first_version(tmp_path: Path) -> None:
    (tmp_path / "launch.json").write_text('{"machine": "local:cpu"}')
    assert read_record(tmp_path / "launch.json") == {"machine": "local:cpu"}
    assert read_record(tmp_path / "none.json") == {}


@pytest.mark.parametrize("version", [str(records.VERSION + 1), "0"])
def test_a_record_of_an_unknown_version_is_refused(version: str, tmp_path: Path) -> None:
    (tmp_path / "handle.json").write_text(f'{{"v": {version}, "pid": 1}}')
    with pytest.raises(Problem, match=r"handle\.json was written by a newer version"):
        read_record(tmp_path / "handle.json")


@pytest.mark.parametrize("version", ['"1"', "null", "[1]", "1.5"])
def test_a_version_that_is_no_whole_number_is_damage(version: str, tmp_path: Path) -> None:
    (tmp_path / "launch.json").write_text(f'{{"v": {version}, "pid": 1}}')
    with pytest.raises(DamagedFile, match=r"launch\.json does not hold what it should .*`\$\.v`.* Delete this file"):
        read_record(tmp_path / "launch.json")


def test_every_migration_of_its_file_is_applied_to_an_older_record(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(records, "VERSION", 3)
    monkeypatch.setitem(records.MIGRATIONS, ("launch.json", 1), lambda record: {"where": record["machine"]})
    monkeypatch.setitem(records.MIGRATIONS, ("launch.json", 2), lambda record: record | {"strategy": "single"})
    for name, expected in (("launch.json", {"where": "x", "strategy": "single"}), ("facts.json", {"machine": "x"})):
        (tmp_path / name).write_text('{"machine": "x"}')
        assert read_record(tmp_path / name) == expected
