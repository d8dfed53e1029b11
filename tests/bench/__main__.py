"""`python -m tests.bench NAME`: runs all cases of a benchmark, prints its table and writes it, with the date, to tests/bench/results/.

`python -m tests.bench learning "sft, dora" kto` runs only those cases and writes no file; `chains` takes cases too.
"""

from __future__ import annotations

import argparse
import importlib
import os
import platform
import sys
import tempfile
import time
from inspect import signature
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent


def main() -> int:
    bench_names = sorted(path.stem for path in HERE.glob("*.py") if not path.stem.startswith("_"))
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description=__doc__)
    parser.add_argument("name", choices=bench_names, nargs="?")
    parser.add_argument("--list", action="store_true", help="list the benchmarks")
    parser.add_argument(
        "cases", nargs="*", help="for faults, learning and chains: run only these cases, and write no file"
    )
    parser.add_argument("--model", help="for speed: pocket, the practice model, or smollm2")
    options = parser.parse_args()
    if options.list or not options.name:
        print("\n".join(f"{name:<12} {load_bench(name).__doc__.splitlines()[0]}" for name in bench_names))
        return 0
    known_cases = (
        list(load_bench(options.name).CASES) if "names" in signature(load_bench(options.name).run).parameters else []
    )
    if unknown_cases := [case for case in options.cases if case not in known_cases]:
        parser.error(
            f"there is no case “{unknown_cases[0]}” of {options.name}; there are: {'; '.join(known_cases) or 'none to choose from'}"
        )
    with tempfile.TemporaryDirectory(prefix="tunesmith-bench-") as folder:
        os.environ["TUNESMITH_HOME"] = str(Path(folder) / "home")
        os.environ["HF_HUB_OFFLINE"] = "1"
        start_time = time.monotonic()
        arguments = {"model": options.model} if options.model else {}
        table = load_bench(options.name).run(Path(folder), *([options.cases] if options.cases else []), **arguments)
    if options.cases:
        print("\n".join(markdown_table(table)))
    else:
        write_report(options.name, table, time.monotonic() - start_time, options.model)
    return 0


def load_bench(name: str) -> Any:
    return importlib.import_module(f"tests.bench.{name}")


def write_report(name: str, table: list[dict[str, Any]], seconds: float, model: str | None = None) -> None:
    """model: another than the usual one, whose table is a file of its own."""
    command, file_name = (f"{name} --model {model}", f"{name}_{model}") if model else (name, name)
    lines = [f"# {load_bench(name).__doc__.splitlines()[0]}", "",
             f"{time.strftime('%Y-%m-%d')}, {os.cpu_count()} cores ({platform.machine()}), Python {platform.python_version()}, "
             f"{seconds / 60:.0f} minutes. Made by `python -m tests.bench {command}`.", "", *markdown_table(table), ""]  # fmt: skip
    print("\n".join(lines))
    (HERE / "results").mkdir(exist_ok=True)
    (HERE / "results" / f"{file_name}.md").write_text("\n".join(lines), encoding="utf-8")


def markdown_table(table: list[dict[str, Any]]) -> list[str]:
    columns = list(table[0])
    rows = ["| " + " | ".join(str(row.get(column, "")) for column in columns) + " |" for row in table]
    return ["| " + " | ".join(columns) + " |", "|" + "---|" * len(columns), *rows]


if __name__ == "__main__":
    sys.exit(main())
