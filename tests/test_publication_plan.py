"""What publishing will write is named before it does, and is what it then writes."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from app.core.paths import ROOT
from app.core.problems import Problem
from app.core.workspace import local_workspace
from app.hub import api, staging
from app.hub.publication_plan import plan_publication
from app.planning import presets
from app.runs import store
from app.runs.store import Run
from app.setup.spec import Launch
from components import publish


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TUNESMITH_HOME", str(tmp_path / "home"))


def create_run_with_result(base: str | None, **launch: Any) -> Run:
    run = store.create_run(local_workspace(), presets.preset_spec("first_tune"), Launch(**launch))
    run.adapter.mkdir()
    if base:
        (run.adapter / "adapter_config.json").write_text(json.dumps({"base_model_name_or_path": base}))
        (run.adapter / "adapter_model.safetensors").write_bytes(b"\x02\0\0\0\0\0\0\0{}")
    else:
        shutil.copytree(ROOT / "presets" / "pocket", run.adapter, dirs_exist_ok=True)
    return run


def published_folders(run: Run, repo: str, monkeypatch: pytest.MonkeyPatch) -> dict[str, set[str]]:
    """What `publish_run` would send: {repository: names of its files}."""
    sent: dict[str, set[str]] = {}

    def record(folder: Path, destination: Any, *_: Any) -> str:
        sent[destination.repo] = {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}
        return "revision"

    monkeypatch.setattr(api, "upload_folder", record)
    monkeypatch.setattr(api, "require_write_access", lambda *_: None)
    monkeypatch.setattr(api, "_published_revision", lambda *_: None)
    api.publish_run(run, repo)
    return sent


@pytest.mark.parametrize("base", ["presets/pocket", None, "a run"])
def test_the_plan_names_exactly_what_publishing_sends(base: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    base_run = create_run_with_result(None) if base == "a run" else None
    run = create_run_with_result(str(base_run.adapter) if base_run else base)
    plan = {planned.repo: {name for name, _ in planned.files} for planned in plan_publication(run, "alice/first-tune")}
    assert plan == published_folders(run, "alice/first-tune", monkeypatch)
    expected = {"presets/pocket": "alice/tunesmith-practice-model", "a run": "alice/first-tune-base", None: None}[base]
    assert set(plan) == {"alice/first-tune", expected} - {None}


def test_a_result_that_cannot_be_published_is_refused_before_anything_is_listed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    run = store.create_run(local_workspace(), presets.preset_spec("first_tune"), Launch())
    with pytest.raises(Problem, match="no result yet"):
        plan_publication(run, "alice/x")
    refusal = Problem("It stands on a model that only this machine has.")
    monkeypatch.setattr(staging, "find_base_model", lambda run: (_ for _ in ()).throw(refusal))
    run.adapter.mkdir()
    with pytest.raises(Problem, match="only this machine"):
        plan_publication(run, "alice/x")


def test_the_page_lists_repositories_files_and_who_will_see_them() -> None:
    run = create_run_with_result("presets/pocket")
    page_html = publish.render_publication_plan(plan_publication(run, "alice/<b>"), private=True)
    assert "2 repositories" in page_html
    assert "alice/&lt;b&gt;" in page_html
    assert "adapter_model.safetensors" in page_html
    assert "Only you" in page_html
    assert "Everybody" in publish.render_publication_plan(plan_publication(run, "alice/x"), private=False)
