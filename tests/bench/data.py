"""Data: time and memory to show the first rows of large files, the cost of an endless line, and the reading speed of files.

Each number comes from its own process, with the libraries loaded before the clock starts, as in the server and the worker.
"Not in memory": the file was dropped from the page cache first. The memory is the peak of the process.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import statistics
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow
from pyarrow import parquet

from app.core.paths import ROOT
from tests.bench.many import drop_from_page_cache
from tests.support import WORDS

LARGE_BYTES, UPLOAD_LIMIT_BYTES, ENDLESS_LINE_BYTES = 5_000_000_000, 500_000_000, 10_000_000_000  # bytes
ROUNDS = 5
BUDGET = {"seconds": 2.0, "megabytes": 1_000}  # for the first rows of a 5 GB JSONL file
SCRIPT_HEADER = """
import json, re, sys, time
from itertools import islice
from app.data.findings import source_preview
from app.data.reading import files
from app.core.problems import Problem
from app.setup.spec import Source
source, started_at = Source(source="path:" + sys.argv[1]), time.perf_counter()
"""
SCRIPT_FOOTER = r"""
seconds = time.perf_counter() - started_at
peak_mb = int(re.search(r"VmHWM:\s+(\d+)", open("/proc/self/status").read())[1]) / 1024  # getrusage would include the parent process
print(json.dumps([seconds, peak_mb, outcome]))
"""
READ_FIRST_ROWS = "outcome = len(list(islice(files.read_source_rows(source), 50)))"
PREVIEW_SOURCE = (
    'outcome = len(source_preview.preview_source({"source": {"source": source.source}, "method": "sft"})["cells"])'
)
PREVIEW_ROWS = """
from app.engine.libraries import prepare_libraries, warm_up
from app.engine.preview.row_preview import preview_rows
from app.setup.spec import parse_spec
prepare_libraries(); warm_up()
preview_rows(parse_spec({"method": "sft", "data": [{"source": "sample:tickets"}]}), 50)
started_at = time.perf_counter()
outcome = len(preview_rows(parse_spec({"method": "sft", "data": [{"source": source.source}]}), 50)["rows"])
"""
READ_OR_PROBLEM = """
try: outcome = len(list(files.read_source_rows(source)))
except Problem as problem: outcome = problem.text
"""
READ_ALL_ROWS = "outcome = sum(1 for _ in files.read_source_rows(source))"


def run(folder: Path) -> list[dict[str, Any]]:
    require_free_disk(folder)
    large_file = write_large_file(folder / "large.jsonl", LARGE_BYTES, jsonl_parts)
    table_rows = [
        table_row("JSON lines of 5 GB: the first 50 rows", large_file, READ_FIRST_ROWS),
        table_row("the same, not in memory", large_file, READ_FIRST_ROWS, cold=True),
        table_row("JSON lines of 5 GB: all that the page shows of a source", large_file, PREVIEW_SOURCE),
        table_row("JSON lines of 5 GB: a preview of 50 rows as the trainer prepares them", large_file, PREVIEW_ROWS),
    ]
    large_file.unlink()
    with (folder / "line.jsonl").open("wb") as file:
        file.write(b'{"prompt": "')
        file.truncate(ENDLESS_LINE_BYTES)  # a sparse file: zero bytes that use no disk space
    table_rows.append(table_row("a line of 10 GB: refused", folder / "line.jsonl", READ_OR_PROBLEM))
    for file_name, format_parts in {"a.jsonl": jsonl_parts, "a.csv": csv_parts, "a.json": json_array_parts}.items():
        path = write_large_file(folder / file_name, UPLOAD_LIMIT_BYTES, format_parts)
        table_rows.append(
            table_row(
                f"{path.suffix[1:]} of 500 MB, the most that is uploaded: the first 50 rows", path, READ_FIRST_ROWS
            )
        )
        table_rows.append(
            table_row(f"{path.suffix[1:]} of 500 MB: every row read", path, READ_ALL_ROWS, rounds=1, budget=False)
        )
        path.unlink()
    parquet.write_table(pyarrow.Table.from_pylist(examples(1_000_000)), folder / "a.parquet")
    table_rows.append(table_row("Parquet of 1,000,000 rows: the first 50", folder / "a.parquet", READ_FIRST_ROWS))
    return [
        *table_rows,
        table_row(
            "Parquet of 1,000,000 rows: every row read", folder / "a.parquet", READ_ALL_ROWS, rounds=1, budget=False
        ),
    ]


def require_free_disk(folder: Path) -> None:
    free_bytes = shutil.disk_usage(folder).free
    assert free_bytes > 1.5 * LARGE_BYTES, (
        f"{free_bytes / 1e9:.1f} GB are free; this needs {1.5 * LARGE_BYTES / 1e9:.1f}"
    )


def examples(count: int) -> list[dict[str, str]]:
    rng = random.Random(5)
    return [{"prompt": " ".join(rng.choices(WORDS, k=30)), "completion": " ".join(rng.choices(WORDS, k=15))} for _ in range(count)]  # fmt: skip


def jsonl_parts(rows: list[dict[str, str]]) -> tuple[str, str, str]:
    """(header, body that is repeated up to the file size, footer)."""
    return "", "".join(json.dumps(row) + "\n" for row in rows), ""


def csv_parts(rows: list[dict[str, str]]) -> tuple[str, str, str]:
    return "prompt,completion\n", "".join(f'"{row["prompt"]}, he said",{row["completion"]}\n' for row in rows), ""


def json_array_parts(rows: list[dict[str, str]]) -> tuple[str, str, str]:
    return "[", "".join(json.dumps(row) + ",\n" for row in rows), json.dumps(rows[0]) + "]"


def write_large_file(
    path: Path, size: int, format_parts: Callable[[list[dict[str, str]]], tuple[str, str, str]]
) -> Path:
    header, body, footer = (part.encode() for part in format_parts(examples(20_000)))
    with path.open("wb") as file:
        file.write(header)
        while file.tell() < size:
            file.write(body)
        file.write(footer)
        file.flush()
        os.fsync(file.fileno())
    return path


def table_row(label: str, path: Path, script: str, rounds: int = ROUNDS, cold: bool = False, budget: bool = True) -> dict[str, Any]:  # fmt: skip
    measurements = []
    for _ in range(rounds):
        if cold:
            drop_from_page_cache(path)
        measurements.append(run_script(path, script))
    durations, peak_memory, outcomes = zip(*measurements, strict=True)
    return {"what": label, "seconds": f"{statistics.median(durations):.3f}", "lowest to highest": f"{min(durations):.3f} to {max(durations):.3f}",
            "most memory, MB": f"{max(peak_memory):.0f}", "budget": f"{BUDGET['seconds']:.0f} s, {BUDGET['megabytes']:,} MB" if budget else "",
            "came to": outcomes[0] if isinstance(outcomes[0], str) else f"{outcomes[0]:,} rows"}  # fmt: skip


def run_script(path: Path, script: str) -> list[Any]:
    process = subprocess.run(
        [sys.executable, "-c", f"{SCRIPT_HEADER}{script}{SCRIPT_FOOTER}", str(path)],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert process.returncode == 0, process.stderr[-2000:]
    return json.loads(process.stdout.splitlines()[-1])
