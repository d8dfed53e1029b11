"""Full: every case of the slow tests, of which CI runs only the first ones."""

from __future__ import annotations

import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from collections import defaultdict
from pathlib import Path
from typing import Any

from app.core.paths import ROOT


def run(folder: Path) -> list[dict[str, Any]]:
    report = folder / "report.xml"
    command = [sys.executable, "-m", "pytest", "-m", "slow", "--all-cases", "-n", "2", "--dist", "loadfile", f"--junitxml={report}"]  # fmt: skip
    subprocess.run(command, cwd=ROOT, check=False)  # its exit code only repeats what the report says
    cases: dict[str, list[ElementTree.Element]] = defaultdict(list)
    for case in ElementTree.parse(report).iter("testcase"):
        cases[case.get("classname", "").removeprefix("tests.")].append(case)
    rows = [_describe_file(name, cases[name]) for name in sorted(cases)]
    total = {key: sum(row[key] for row in rows) for key in ("cases", "passed", "seconds")}
    return [*rows, {"tests of": "all", **total, "failed": ", ".join(row["failed"] for row in rows if row["failed"])}]


def _describe_file(name: str, cases: list[ElementTree.Element]) -> dict[str, Any]:
    failed = [case.get("name", "") for case in cases if case.find("failure") is not None or case.find("error") is not None]  # fmt: skip
    return {
        "tests of": name,
        "cases": len(cases),
        "passed": len(cases) - len(failed),
        "seconds": round(sum(float(case.get("time", 0)) for case in cases)),
        "failed": ", ".join(failed),
    }
