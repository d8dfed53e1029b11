"""Fixtures shared by all tests: every test has its own home folder."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from app.worker.client import WorkerClient

# Several processes compute at the same time: with more threads than processors, threads waste time in busy waiting.
os.environ.setdefault("OMP_NUM_THREADS", "1")


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
