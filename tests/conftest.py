"""Fixtures shared by all tests: every test has a home of its own."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from app.worker.client import WorkerClient

# Several processes compute beside each other here: with more threads than processors each waits, busily, for the others.
os.environ.setdefault("OMP_NUM_THREADS", "1")


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A fresh TUNESMITH_HOME; children inherit it. The Hub cannot be reached from tests."""
    monkeypatch.setenv("TUNESMITH_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    return tmp_path / "home"


@pytest.fixture(scope="session")
def worker() -> Iterator[WorkerClient]:
    """One warm worker for all tests that only ask it."""
    with WorkerClient() as warm:
        yield warm
