"""Data: how soon the first rows of large files show, and in how much memory; what a line without an end costs; how fast files are read.

Every number is of a process of its own, with its libraries loaded beforehand as the page's and the worker's are. "Not in
memory": the system was asked to forget the file. The memory is the most that the process ever held.
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
from tests.bench.many import forget
from tests.support import WORDS

LARGE, MIDDLE, ENDLESS = 5_000_000_000, 500_000_000, 10_000_000_000  # bytes
ROUNDS = 5
BUDGET = {"seconds": 2.0, "megabytes": 1_000}  # the issue: a 5 GB JSONL shows its first rows
BEFORE = """
import json, re, sys, time
from itertools import islice
from app.data import files, source_preview
from app.core.problems import Problem
from app.setup.spec import Source
source, began = Source(source="path:" + sys.argv[1]), time.perf_counter()
"""
AFTER = r"""
took = time.perf_counter() - began
most = int(re.search(r"VmHWM:\s+(\d+)", open("/proc/self/status").read())[1]) / 1024  # getrusage would count the parent's too
print(json.dumps([took, most, said]))
"""
FIRST = "said = len(list(islice(files.read_source_rows(source), 50)))"
LOOK = 'said = len(source_preview.preview_source({"source": {"source": source.source}, "method": "sft"})["cells"])'
PREVIEW = """
from app.engine.libraries import prepare_libraries, warm_up
from app.engine.preview.row_preview import preview_rows
from app.setup.spec import parse_spec
prepare_libraries(); warm_up()
preview_rows(parse_spec({"method": "sft", "data": [{"source": "sample:tickets"}]}), 50)
began = time.perf_counter()
said = len(preview_rows(parse_spec({"method": "sft", "data": [{"source": source.source}]}), 50)["rows"])
"""
REFUSED = """
try: said = len(list(files.read_source_rows(source)))
except Problem as problem: said = problem.text
"""
WHOLE = "said = sum(1 for _ in files.read_source_rows(source))"


def run(folder: Path) -> list[dict[str, Any]]:
    require_disk(folder)
    large = written(folder / "large.jsonl", LARGE, as_lines)
    table = [
        row("JSON lines of 5 GB: the first 50 rows", large, FIRST),
        row("the same, not in memory", large, FIRST, cold=True),
        row("JSON lines of 5 GB: all that the page shows of a source", large, LOOK),
        row("JSON lines of 5 GB: a preview of 50 rows as the trainer prepares them", large, PREVIEW),
    ]
    large.unlink()
    with (folder / "line.jsonl").open("wb") as file:
        file.write(b'{"prompt": "')
        file.truncate(ENDLESS)  # zeros that lie nowhere
    table.append(row("a line of 10 GB: refused", folder / "line.jsonl", REFUSED))
    for name, content in {"a.jsonl": as_lines, "a.csv": as_table, "a.json": as_array}.items():
        path = written(folder / name, MIDDLE, content)
        table.append(row(f"{path.suffix[1:]} of 500 MB, the most that is uploaded: the first 50 rows", path, FIRST))
        table.append(row(f"{path.suffix[1:]} of 500 MB: every row read", path, WHOLE, rounds=1, budget=False))
        path.unlink()
    parquet.write_table(pyarrow.Table.from_pylist(examples(1_000_000)), folder / "a.parquet")
    table.append(row("Parquet of 1,000,000 rows: the first 50", folder / "a.parquet", FIRST))
    return [
        *table,
        row("Parquet of 1,000,000 rows: every row read", folder / "a.parquet", WHOLE, rounds=1, budget=False),
    ]


def require_disk(folder: Path) -> None:
    free = shutil.disk_usage(folder).free
    assert free > 1.5 * LARGE, f"{free / 1e9:.1f} GB are free; this needs {1.5 * LARGE / 1e9:.1f}"


def examples(count: int) -> list[dict[str, str]]:
    chance = random.Random(5)
    return [{"prompt": " ".join(chance.choices(WORDS, k=30)), "completion": " ".join(chance.choices(WORDS, k=15))} for _ in range(count)]  # fmt: skip


def as_lines(some: list[dict[str, str]]) -> tuple[str, str, str]:
    """What a file begins with, repeats, and ends with."""
    return "", "".join(json.dumps(one) + "\n" for one in some), ""


def as_table(some: list[dict[str, str]]) -> tuple[str, str, str]:
    return "prompt,completion\n", "".join(f'"{one["prompt"]}, he said",{one["completion"]}\n' for one in some), ""


def as_array(some: list[dict[str, str]]) -> tuple[str, str, str]:
    return "[", "".join(json.dumps(one) + ",\n" for one in some), json.dumps(some[0]) + "]"


def written(path: Path, size: int, content: Callable[[list[dict[str, str]]], tuple[str, str, str]]) -> Path:
    begins, repeats, ends = (part.encode() for part in content(examples(20_000)))
    with path.open("wb") as file:
        file.write(begins)
        while file.tell() < size:
            file.write(repeats)
        file.write(ends)
        file.flush()
        os.fsync(file.fileno())
    return path


def row(what: str, path: Path, code: str, rounds: int = ROUNDS, cold: bool = False, budget: bool = True) -> dict[str, Any]:  # fmt: skip
    found = []
    for _ in range(rounds):
        if cold:
            forget(path)
        found.append(timed(path, code))
    seconds, memory, said = zip(*found, strict=True)
    return {"what": what, "seconds": f"{statistics.median(seconds):.3f}", "lowest to highest": f"{min(seconds):.3f} to {max(seconds):.3f}",
            "most memory, MB": f"{max(memory):.0f}", "budget": f"{BUDGET['seconds']:.0f} s, {BUDGET['megabytes']:,} MB" if budget else "",
            "came to": said[0] if isinstance(said[0], str) else f"{said[0]:,} rows"}  # fmt: skip


def timed(path: Path, code: str) -> list[Any]:
    told = subprocess.run(
        [sys.executable, "-c", f"{BEFORE}{code}{AFTER}", str(path)], cwd=ROOT, capture_output=True, text=True
    )
    assert told.returncode == 0, told.stderr[-2000:]
    return json.loads(told.stdout.splitlines()[-1])
