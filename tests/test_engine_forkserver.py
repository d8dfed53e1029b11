"""The fork server of the tests stays in use after a test has trained in its own process: each engine would else import all again."""

from __future__ import annotations

import pytest

from app.engine.libraries import ENVIRONMENT
from tests.engine_forkserver import fixed_environment


def test_what_libraries_set_does_not_end_the_use_of_the_fork_server(monkeypatch: pytest.MonkeyPatch) -> None:
    before = fixed_environment()
    for name in (*ENVIRONMENT, "TORCHINDUCTOR_CACHE_DIR"):
        monkeypatch.setenv(name, "another")
    assert fixed_environment() == before
    monkeypatch.setenv("HF_HOME", "another")
    assert fixed_environment() != before
