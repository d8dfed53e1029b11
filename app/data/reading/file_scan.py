"""File scan: an uploaded file read once to its end, to count its rows and to report unreadable ones with remedies.

The scan is stored beside the upload. `python -m app.data.reading.file_scan PATH` scans one file with limited memory.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import TypedDict

from app.contracts import Finding
from app.core import paths
from app.core.problems import Problem
from app.data.reading import files
from app.data.reading.text_lines import UnreadableRow, guess_encoding
from app.data.reading.unreadable_rows import FILE_FORM, UnreadableRows
from app.setup.spec import Source

_MAX_MEMORY_BYTES = 3 << 30  # of the process that reads a compressed table
_COMPRESSED_SUFFIXES = (".parquet", ".arrow", ".feather", ".xlsx")  # small files of these can unpack to any size
_MAX_ROWS = 10_000_000
_EXIT_CODE_PROBLEM = 2  # of the subprocess, when it raised a Problem


class FileScan(TypedDict):
    """rows: how many can be read. findings: what is wrong with the others, with remedies for the source of index 0."""

    rows: int
    findings: list[Finding]


def scan_file(path: Path) -> FileScan:
    """The scan of a file with default settings. Raises Problem where no row can be read."""
    return _scan_in_subprocess(path) if files.file_suffix(path) in _COMPRESSED_SUFFIXES else _scan_rows(path)


def _scan_rows(path: Path) -> FileScan:
    """The scan of a file in this process. Raises Problem where no row can be read."""
    unreadable, num_rows, encoding = UnreadableRows(), 0, None
    try:
        for _ in files.read_source_rows(Source(source=f"path:{path}", skip_bad=True), unreadable=unreadable):
            num_rows += 1
            _require_fewer_rows(path, num_rows)
    except Problem as problem:
        if problem.reason != "encoding":
            raise
        unreadable.add(UnreadableRow(problem.text.partition(": ")[2].rstrip("."), "encoding"), 1)
    if unreadable.num_encoding_errors:
        encoding = guess_encoding(path)
    if unreadable.count and not num_rows and not encoding:
        raise files.unreadable_problem(UnreadableRow(next(iter(unreadable.reasons_by_row.values()))), path.name)
    return {"rows": num_rows, "findings": unreadable.findings(encoding=encoding)}


def _scan_in_subprocess(path: Path) -> FileScan:
    """The same in a subprocess with limited memory, so that a malicious file cannot crash the server.

    Raises Problem.
    """
    command = [sys.executable, "-m", "app.data.reading.file_scan", str(path)]
    process = subprocess.run(command, cwd=paths.ROOT, capture_output=True, text=True)
    if process.returncode not in (0, _EXIT_CODE_PROBLEM):
        raise files.out_of_memory_problem(path)
    output = json.loads(process.stdout)
    if process.returncode == _EXIT_CODE_PROBLEM:
        raise Problem(output["text"], advice=output["advice"], reason=output["reason"])
    return output


def main() -> int:
    """Entry point of the subprocess: prints the scan, or the Problem, as JSON."""
    import resource

    path = Path(sys.argv[1])
    resource.setrlimit(resource.RLIMIT_AS, (_MAX_MEMORY_BYTES, _MAX_MEMORY_BYTES))
    try:
        if files.file_suffix(path) == ".parquet":
            _require_fewer_rows(path, files.count_rows(Source(source=f"path:{path}")) or 0)
        print(json.dumps(_scan_rows(path)))
    except Problem as problem:
        print(json.dumps({"text": problem.text, "advice": problem.advice, "reason": problem.reason}))
        return _EXIT_CODE_PROBLEM
    return 0


def _require_fewer_rows(path: Path, num_rows: int) -> None:
    """Raises Problem for a file with more than MAX_ROWS rows."""
    if num_rows > _MAX_ROWS:
        raise Problem(
            f"{path.name} holds more than {_MAX_ROWS // 1_000_000} million rows.",
            advice="Bring a part of it.",
            reason="too_large",
        )


# -- stored beside an upload -------------------------------------------------------------------------------------------


def _scan_path(path: Path) -> Path:
    """The file of a scan: hidden, because files beside it are uploads, and one for each suffix, because the same
    bytes can be uploaded under several."""
    return path.parent / f".survey{path.suffix.lower()}.json"


def save_scan(folder: Path, path: Path, scan: FileScan) -> None:
    """Stores the scan of `path` in the folder to which the upload will be moved."""
    _scan_path(folder / path.name).write_text(json.dumps(scan), encoding="utf-8")


def load_scan(path: Path) -> FileScan | None:
    """The stored scan of an upload; None for any other file."""
    scan_file_path = _scan_path(path)
    return json.loads(scan_file_path.read_text(encoding="utf-8")) if scan_file_path.is_file() else None


def count_readable_rows(source: Source, path: Path | None) -> int | None:
    """The number of rows of a source that can be read; None where it is not known without a long read."""
    scan = load_scan(path) if path else None
    has_default_settings = source.parts == "paragraphs" and not (source.headless or source.encoding)
    if scan is None or not has_default_settings:
        return files.count_rows(source)
    return files.rows_in_slice(scan["rows"], source)


def findings_for_source(scan: FileScan, source: Source, source_index: int) -> list[Finding]:
    """The findings of a scan for a source with its own settings: with `skip_bad`, dropped rows are no longer an
    error."""
    findings = [_with_source_index(finding, source_index) for finding in scan["findings"]]
    notes = [finding for finding in findings if finding["id"] == FILE_FORM]
    if not source.skip_bad or len(notes) == len(findings):
        return findings
    last_finding = findings[-1]
    text = f"{last_finding['text'].partition('. ')[0].rstrip('.')}. {'It is' if last_finding['count'] == 1 else 'They are'} left out."
    return [*notes, {**last_finding, "id": "unreadable_rows", "severity": "careful", "text": text, "remedy": None}]


def _with_source_index(finding: Finding, source_index: int) -> Finding:
    """The finding with a remedy that changes the source of this index in the setup."""
    remedy = finding["remedy"]
    if remedy is None:
        return finding
    changes = {f"data.{source_index}.{path.rpartition('.')[2]}": value for path, value in remedy["changes"].items()}
    return {**finding, "remedy": {**remedy, "changes": changes}}


def require_readable(source: Source) -> None:
    """Raises Problem for an upload with unreadable rows, where the source has no setting for them."""
    path = files.source_path(source)
    has_settings = source.skip_bad or source.encoding or source.start or source.limit
    scan = load_scan(path) if path and not has_settings else None
    errors = [finding for finding in scan["findings"] if finding["severity"] == "wrong"] if scan else []
    if errors:
        first_finding = errors[0]
        remedy = first_finding["remedy"]
        raise Problem(
            f"{files.display_name(source)} cannot be read as it is. {first_finding['text']}",
            reason=first_finding["id"],
            advice=f"Mend the file, or: {remedy['title'].lower()}." if remedy else "Mend the file.",
        )


if __name__ == "__main__":
    sys.exit(main())
