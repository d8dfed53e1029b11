"""Chains: every shipped way of several lessons walked whole, with two seeds; each stage answers the same held-out prompts."""

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

SEEDS = (7, 8)  # walked beside one another
CASES = registry.names("pipelines")


def run(folder: Path, names: list[str] | None = None) -> list[dict[str, Any]]:
    """A row for each stage whose model answers. names: only these chains."""
    table = []
    with ThreadPoolExecutor(len(SEEDS)) as pool:
        for name in names or CASES:
            found = list(pool.map(lambda seed, name=name: walked(name, seed, folder), SEEDS))
            table += rows(name, [one["compared"] for one in found])
            print(*table[-len(found[0]["compared"]["rows"]) :], sep="\n", flush=True)
    return table


def walked(name: str, seed: int, folder: Path) -> dict[str, Any]:
    """What the command line tells of a whole journey, in a home of its own."""
    changes = [part for stage in pipeline.load_pipeline(name).stages for part in ("--set", f"{stage.name}.seed={seed}")]
    home = os.environ | {"TUNESMITH_HOME": str(folder / f"home-{name}-{seed}"), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "app", "pipelines"]
    subprocess.run([*command, "run", name, *changes], env=home, cwd=paths.ROOT, check=True, capture_output=True)
    told = subprocess.run(
        [*command, "show", "last", "--json"], env=home, cwd=paths.ROOT, check=True, capture_output=True
    )
    return json.loads(told.stdout)


def rows(name: str, compared: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """compared: the table of each seed."""
    first = compared[0]
    return [{"chain": name, "prompts": first["prompts"], "model": row["stage"],
             f"scores, seeds {' / '.join(map(str, SEEDS))}": ", ".join(
                 f"{reward} {' / '.join(shown(one['rows'][i]['scores'][reward]) for one in compared)}" for reward in first["rewards"])}
            for i, row in enumerate(first["rows"])]  # fmt: skip


def shown(score: float | None) -> str:
    return "–" if score is None else f"{score:.2f}"
