"""Runs that were copied from a stranger: their files lead to nothing else on this machine, and nothing waits on them."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from app.core.json_files import DamagedFile, load_json
from app.core.problems import Problem
from app.core.workspace import local_workspace
from app.history import run_list
from app.history.snapshot import read_log
from app.hub import staging
from app.planning import presets
from app.runs import store
from app.runs.events import SampleEvent
from app.runs.store import Run
from app.setup.spec import Launch
from tests.support import append_events


@pytest.fixture
def run() -> Run:
    return store.create_run(local_workspace(), presets.preset_spec("first_tune"), Launch())


@pytest.mark.parametrize("name", ["../../../secret.json", "{folder}/secret.json", "samples/../../../../secret.json"])
def test_an_event_that_names_a_file_elsewhere_shows_nothing_of_it(name: str, run: Run, tmp_path: Path) -> None:
    (tmp_path / "secret.json").write_text('[{"prompt": "key", "completion": "mine"}]')
    event = SampleEvent(seq=1, attempt=1, time=1.0, step=0, file=name.format(folder=tmp_path))
    with pytest.raises(DamagedFile):
        store.sample_rows(run, event)


ENDLESS: dict[str, Callable[[Path], None]] = {
    "pipe": os.mkfifo,
    "device": lambda path: path.symlink_to("/dev/zero"),
}


@pytest.mark.parametrize("kind", ENDLESS)
def test_a_file_without_end_is_not_read(kind: str, run: Run, tmp_path: Path) -> None:
    ENDLESS[kind](tmp_path / "endless.json")
    with pytest.raises(DamagedFile, match="pipe or a device"):
        load_json(tmp_path / "endless.json", dict)
    (run.path / "samples").mkdir()
    ENDLESS[kind](run.path / "samples" / "000001.json")
    with pytest.raises(DamagedFile, match="pipe or a device"):
        store.sample_rows(run, SampleEvent(seq=1, attempt=1, time=1.0, step=0, file="samples/000001.json"))
    ENDLESS[kind](run.path / "log.txt")
    assert read_log(run) == ""


@pytest.mark.parametrize("kind", ENDLESS)
def test_a_run_whose_events_have_no_end_is_none_and_others_are_listed(kind: str, run: Run) -> None:
    other = store.create_run(local_workspace(), presets.preset_spec("first_tune"), Launch())
    ENDLESS[kind](run.events)
    assert [summary["id"] for summary in run_list.list_summaries(local_workspace(), 9)] == [other.id]
    with pytest.raises(Problem, match="no such run"):
        store.get_run(local_workspace(), run.id)


def test_a_link_in_a_result_is_not_published(run: Run, tmp_path: Path) -> None:
    (tmp_path / "keys").mkdir()
    (tmp_path / "keys" / "token").write_text("hf_mine")
    run.adapter.mkdir()
    (run.adapter / "model.safetensors").write_bytes(b"weights")
    (run.adapter / "notes.txt").symlink_to(tmp_path / "keys" / "token")
    (run.adapter / "more").symlink_to(tmp_path / "keys")
    append_events(run, [])
    staging.stage_run(run, tmp_path / "staged", "me/it", None)
    assert {path.name for path in (tmp_path / "staged").rglob("*")} == {"model.safetensors", "README.md"}

    run.adapter.rename(tmp_path / "elsewhere")
    run.adapter.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(Problem, match="link to another folder"):
        staging.stage_run(run, tmp_path / "again", "me/it", None)


def test_a_handle_of_another_folder_or_process_is_only_a_record(run: Run) -> None:
    """Such as one that names the first process of the machine: asking whether the run lives harms nobody."""
    handle = {"backend": "local", "folder": "/", "pid": 1, "started": 0.0}
    (run.path / "handle.json").write_text(json.dumps(handle))
    assert not store.is_alive(run)
