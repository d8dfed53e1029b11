"""Chains: every shipped pipeline is run to its end with two seeds; the model of each stage answers the same held-out prompts."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from app.core import paths, registry
from app.pipelines import pipeline

SEEDS = (7, 8)  # run in parallel
CASES = [name for name in registry.names("pipelines") if pipeline.load_pipeline(name).gigabytes is None]


def run(folder: Path, names: list[str] | None = None) -> list[dict[str, Any]]:
    """One row for each stage whose model answers prompts. names: run only these pipelines."""
    table = []
    with ThreadPoolExecutor(len(SEEDS)) as pool:
        for name in names or CASES:
            summaries = list(pool.map(lambda seed, name=name: run_pipeline(name, seed, folder), SEEDS))
            table += table_rows(name, [summary["compared"] for summary in summaries])
            print(*table[-len(summaries[0]["compared"]["rows"]) :], sep="\n", flush=True)
    return table


def run_pipeline(name: str, seed: int, folder: Path) -> dict[str, Any]:
    """The JSON summary of one pipeline run, started from the command line in its own TUNESMITH_HOME."""
    seed_overrides = [
        argument for stage in pipeline.load_pipeline(name).stages for argument in ("--set", f"{stage.name}.seed={seed}")
    ]
    environment = os.environ | {"TUNESMITH_HOME": str(folder / f"home-{name}-{seed}"), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "app", "pipelines"]
    subprocess.run(
        [*command, "run", name, *seed_overrides], env=environment, cwd=paths.ROOT, check=True, capture_output=True
    )
    completed = subprocess.run(
        [*command, "show", "last", "--json"], env=environment, cwd=paths.ROOT, check=True, capture_output=True
    )
    return json.loads(completed.stdout)


def table_rows(name: str, comparisons: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """One row for each stage, with the scores of all seeds. comparisons: the comparison table of each seed."""
    first_comparison = comparisons[0]
    return [{"chain": name, "prompts": first_comparison["prompts"], "model": row["stage"],
             f"scores, seeds {' / '.join(map(str, SEEDS))}": ", ".join(
                 f"{reward} {' / '.join(format_score(comparison['rows'][i]['scores'][reward]) for comparison in comparisons)}" for reward in first_comparison["rewards"])}
            for i, row in enumerate(first_comparison["rows"])]  # fmt: skip


def format_score(score: float | None) -> str:
    return "–" if score is None else f"{score:.2f}"
