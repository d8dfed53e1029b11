"""`python -m tests.bench NAME`: runs the full version, prints its table and writes it, dated, to tests/bench/results/.

`python -m tests.bench learning "sft, dora" kto` runs only those cases, and writes nothing; so does chains.
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
    names = sorted(path.stem for path in HERE.glob("*.py") if not path.stem.startswith("_"))
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description=__doc__)
    parser.add_argument("name", choices=names, nargs="?")
    parser.add_argument("--list", action="store_true", help="what there is")
    parser.add_argument("cases", nargs="*", help="of learning or chains: only these, and nothing is written")
    options = parser.parse_args()
    if options.list or not options.name:
        print("\n".join(f"{name:<12} {module(name).__doc__.splitlines()[0]}" for name in names))
        return 0
    known = list(module(options.name).CASES) if "names" in signature(module(options.name).run).parameters else []
    if unknown := [case for case in options.cases if case not in known]:
        parser.error(
            f"there is no case “{unknown[0]}” of {options.name}; there are: {'; '.join(known) or 'none to choose from'}"
        )
    with tempfile.TemporaryDirectory(prefix="tunesmith-bench-") as folder:
        os.environ["TUNESMITH_HOME"] = str(Path(folder) / "home")
        os.environ["HF_HUB_OFFLINE"] = "1"
        began = time.monotonic()
        table = module(options.name).run(Path(folder), *([options.cases] if options.cases else []))
    if options.cases:
        print("\n".join(markdown(table)))
    else:
        write(options.name, table, time.monotonic() - began)
    return 0


def module(name: str) -> Any:
    return importlib.import_module(f"tests.bench.{name}")


def write(name: str, table: list[dict[str, Any]], seconds: float) -> None:
    lines = [f"# {module(name).__doc__.splitlines()[0]}", "",
             f"{time.strftime('%Y-%m-%d')}, {os.cpu_count()} cores ({platform.machine()}), Python {platform.python_version()}, "
             f"{seconds / 60:.0f} minutes. Made by `python -m tests.bench {name}`.", "", *markdown(table), ""]  # fmt: skip
    print("\n".join(lines))
    (HERE / "results").mkdir(exist_ok=True)
    (HERE / "results" / f"{name}.md").write_text("\n".join(lines), encoding="utf-8")


def markdown(table: list[dict[str, Any]]) -> list[str]:
    heads = list(table[0])
    rows = ["| " + " | ".join(str(row.get(head, "")) for head in heads) + " |" for row in table]
    return ["| " + " | ".join(heads) + " |", "|" + "---|" * len(heads), *rows]


if __name__ == "__main__":
    sys.exit(main())
