"""Storage: what is kept is listed by kind and deleted together; what is in use stays."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from app.core import platform
from app.core.problems import Problem
from app.core.processes import process_identity
from app.core.workspace import local_workspace
from app.data.reading import uploads
from app.pipelines import storage
from app.planning import presets
from app.runs import store
from app.runs.store import Run
from app.setup.spec import Launch
from tests.support import run_command_line


def store_upload(folder: Path, text: str) -> str:
    path = folder / "mine.jsonl"
    path.write_text(text)
    return uploads.store_upload(local_workspace(), path, "me")["source"]


def create_run(source: str = "sample:desk") -> Run:
    spec = presets.preset_spec("first_tune").to_dict()
    spec["data"][0]["source"] = source
    run = store.create_run(local_workspace(), presets.preset_spec("first_tune"), Launch())
    (run.path / "spec.json").write_text(json.dumps(spec))
    return run


@pytest.fixture
def filled_home(tmp_path: Path) -> Run:
    """With two runs, of which one is returned, a pipeline run, an upload and something cached."""
    source = store_upload(tmp_path, '{"question": "One?", "answer": "1"}\n')
    create_run()
    folder = local_workspace().pipelines / "20261201-120000-pairs-abcd"
    folder.mkdir()
    (folder / "pipeline.json").write_text("{}")
    (local_workspace().cache("lists") / "x").write_bytes(b"x" * 5000)
    return create_run(source)


def counts() -> dict[str, int]:
    return {stored["kind"]: stored["count"] for stored in storage.list_storage(local_workspace())}


def test_everything_is_listed_and_deleted_together(filled_home: Run) -> None:
    assert counts() == {"runs": 2, "pipelines": 1, "uploads": 1, "caches": 1}
    assert all(stored["bytes"] for stored in storage.list_storage(local_workspace()))
    deletion = storage.delete_storage(local_workspace(), storage.KINDS)
    assert deletion["bytes"] > 5000
    assert deletion["in_use"] == []
    assert counts() == dict.fromkeys(storage.KINDS, 0)


def test_one_kind_leaves_the_others_alone(filled_home: Run) -> None:
    storage.delete_storage(local_workspace(), ["caches"])
    assert counts() == {"runs": 2, "pipelines": 1, "uploads": 1, "caches": 0}
    with pytest.raises(Problem, match="Nothing is stored as “everything”"):
        storage.delete_storage(local_workspace(), ["uploads", "everything"])
    assert counts()["uploads"] == 1


def test_what_is_in_use_stays(filled_home: Run) -> None:
    store.write_handle(filled_home, process_identity(os.getpid()))
    [pipeline_folder] = local_workspace().pipelines.iterdir()
    with (pipeline_folder / ".lock").open("w") as lock:
        platform.lock_file(lock)
        deletion = storage.delete_storage(local_workspace(), storage.KINDS)
    assert deletion["in_use"] == [filled_home.id, pipeline_folder.name, "mine.jsonl"]
    assert counts() == {"runs": 1, "pipelines": 1, "uploads": 1, "caches": 0}


@pytest.mark.slow
def test_the_command_lists_and_deletes_only_after_a_yes(filled_home: Run) -> None:
    listing = json.loads(run_command_line("storage", "--json").stdout)
    assert {stored["kind"]: stored["count"] for stored in listing} == counts()
    assert "uploads" in run_command_line("storage").stdout
    refused = run_command_line("storage", "--delete", "runs", expected_exit_code=2)
    assert "--yes" in refused.stderr
    assert counts()["runs"] == 2
    assert "Freed" in run_command_line("storage", "--delete", "runs", "--delete", "caches", "--yes").stdout
    assert counts()["runs"] == 0
