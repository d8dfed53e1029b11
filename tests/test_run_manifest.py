"""Run manifest: the commit of the base model that a run was trained from."""

from __future__ import annotations

from pathlib import Path

import pytest

from app.engine.job import Job
from app.engine.model.device import Device
from app.engine.run_manifest import _base_commit
from app.setup.spec import parse_spec
from tests.in_process import POCKET

FIRST_COMMIT, NEWEST_COMMIT = "1" * 40, "2" * 40


@pytest.fixture
def cached_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The name of a model in the Hub's cache with two commits: `v1` points to the first and `main` to the newest."""
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    repository = tmp_path / "models--alice--base"
    for commit in (FIRST_COMMIT, NEWEST_COMMIT):
        (repository / "snapshots" / commit).mkdir(parents=True)
        (repository / "snapshots" / commit / "config.json").write_text("{}")
    (repository / "refs").mkdir()
    (repository / "refs" / "v1").write_text(FIRST_COMMIT)
    (repository / "refs" / "main").write_text(NEWEST_COMMIT)
    return "alice/base"


def base_commit(model: dict[str, str | None]) -> str | None:
    spec = parse_spec({"method": "sft", "data": [{"source": "sample:chats"}], "model": model})
    return _base_commit(Job(spec, Path("unused"), Device("cpu")))


@pytest.mark.parametrize(
    ("revision", "commit"),
    [
        (None, NEWEST_COMMIT),
        ("main", NEWEST_COMMIT),
        ("v1", FIRST_COMMIT),
        (FIRST_COMMIT, FIRST_COMMIT),
        (NEWEST_COMMIT, NEWEST_COMMIT),
        ("v2", None),
        ("3" * 40, None),
    ],
)
def test_a_hub_model_has_the_commit_of_its_cached_snapshot(
    cached_model: str, revision: str | None, commit: str | None
) -> None:
    """A pinned commit resolves to itself; a revision that is not in the cache has no commit."""
    assert base_commit({"id": cached_model, "revision": revision}) == commit


def test_a_model_that_is_not_in_the_cache_has_no_commit(cached_model: str) -> None:
    assert base_commit({"id": "alice/other"}) is None


@pytest.mark.parametrize("model", ["pocket", str(POCKET)])
def test_a_folder_has_no_commit(model: str) -> None:
    assert base_commit({"id": model}) is None
