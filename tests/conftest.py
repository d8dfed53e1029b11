"""Fixtures shared by all tests: every test has its own home folder. And the choice of the slow tests that CI runs.

Of a slow test's cases CI runs the first one, or as many as `first_cases(n)` says, and none of a test with `full`:
`--all-cases`, `python -m tests.bench full`, and a test that is named on the command line run them all.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from app.worker.client import WorkerClient

# Several processes compute at the same time: with more threads than processors, threads waste time in busy waiting.
os.environ.setdefault("OMP_NUM_THREADS", "1")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--all-cases", action="store_true", help="run every case of the slow tests, and the long tests")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leaves out what only the bench runs."""
    if config.getoption("--all-cases") or any("::" in argument for argument in config.args):
        return
    counts: Counter[str] = Counter()  # of cases, by their test
    kept_items, left_out_items = [], []
    for item in items:
        counts[test := item.nodeid.partition("[")[0]] += 1
        mark = item.get_closest_marker("first_cases")
        is_kept = not item.get_closest_marker("slow") or counts[test] <= (mark.args[0] if mark else 1)
        (kept_items if is_kept and not item.get_closest_marker("full") else left_out_items).append(item)
    items[:] = kept_items
    config.hook.pytest_deselected(items=left_out_items)


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A new TUNESMITH_HOME, also for child processes. Tests cannot reach the Hub."""
    monkeypatch.setenv("TUNESMITH_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    return tmp_path / "home"


@pytest.fixture(scope="session")
def worker() -> Iterator[WorkerClient]:
    """One started worker for all tests that only send it questions."""
    with WorkerClient() as client:
        yield client
