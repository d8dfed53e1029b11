"""Command `inspect`: reads a file in the encoding that is named, and prints nothing but its report."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support import run_command_line


@pytest.mark.slow
def test_inspect_takes_an_encoding_and_prints_its_report_alone(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_bytes("question,answer\nWie tief?,Größer als tief.\n".encode("cp1252"))
    refused = run_command_line("inspect", str(path), expected_exit_code=2)
    assert "not text in UTF-8" in refused.stderr + refused.stdout
    report = run_command_line("inspect", str(path), "--encoding", "windows-1252")
    assert "Größer als tief." in report.stdout
    assert report.stderr == ""
    assert "[RANK" not in report.stdout
    unknown = run_command_line("inspect", str(path), "--encoding", "klingon", expected_exit_code=2)
    assert "klingon" in unknown.stderr + unknown.stdout
