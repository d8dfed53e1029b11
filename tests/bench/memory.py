"""Memory: the estimated range of every method beside the peak of live tensors in two real steps on the CPU."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from tests.memory_cases import CASES, MeasuredMemory, measure_case


def run(folder: Path, names: list[str] | None = None) -> list[dict[str, Any]]:
    """One table row per case, printed as soon as it is known. names: run only these cases."""
    os.environ |= {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}  # torch reads these when it is imported
    table = []
    for name in names or CASES:
        table.append(table_row(name, measure_case(name, folder)))
        print(table[-1], flush=True)
    return table


def table_row(name: str, measured: MeasuredMemory) -> dict[str, Any]:
    estimate = measured.estimate
    low, high = estimate["tensors_low"], estimate["tensors_high"]
    largest = max((part for part in estimate["parts"] if part["at_peak"] and part["name"] != "program"), key=lambda part: part["bytes"])  # fmt: skip
    return {
        "method": name,
        "estimate, MB": f"{low / 1e6:.0f} to {high / 1e6:.0f}",
        "measured, MB": f"{measured.peak / 1e6:.0f}",
        "of the middle": f"{2 * measured.peak / (low + high):.2f}",
        "most of it": largest["term"] or largest["title"],
        "inside": "yes" if measured.is_inside else "NO",
    }
