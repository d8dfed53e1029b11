"""The view Setup of a run: the setup as a file, how it differs from its preset, and the downloads."""

from __future__ import annotations

import io
import shlex
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient

from app.cli.terminal import read_setup
from app.core import registry
from app.core.problems import Problem
from app.core.workspace import local_workspace
from app.planning import presets
from app.planning.resolve import resolve
from app.planning.setup_changes import describe_setup_changes
from app.runs import result_archive, store
from app.runs.result import PROFILE_FILE
from app.runs.store import Run
from app.server.run_downloads import mount_download_routes
from app.server.views.run_setup import read_run_setup
from app.setup.spec import Launch, Spec, parse_spec, read_spec_file
from app.setup.toml_file import spec_to_toml


def changed_preset(**changes: Any) -> Spec:
    return resolve(parse_spec(presets.unresolved_preset_spec("first_tune").to_dict() | changes))


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    monkeypatch.setenv("TUNESMITH_HOME", str(tmp_path / "a home"))
    return store.create_run(local_workspace(), changed_preset(title="Größe <b> “x”", seed=11), Launch())


@pytest.fixture
def get(run: Run) -> Callable[..., Any]:
    app = FastAPI()
    mount_download_routes(app)
    client = TestClient(app, raise_server_exceptions=False)
    return lambda kind, run_id=run.id: client.get(f"/download/{kind}", params={"run": run_id})


@pytest.mark.parametrize("name", registry.names("presets"))
def test_a_setup_written_as_toml_reads_back_as_the_same_setup(name: str, tmp_path: Path) -> None:
    spec = presets.preset_spec(name)
    (tmp_path / "setup.toml").write_text(spec_to_toml(spec, "a comment\n[over] two lines"), encoding="utf-8")
    assert read_spec_file(tmp_path / "setup.toml") == spec


def test_toml_keeps_every_character_and_nested_settings_of_rewards(tmp_path: Path) -> None:
    characters = "".join(map(chr, range(0x20))) + '\x7f\u2028\u0085"\\\'\'\' """ # [x] é😀'
    schema = '{"type": "object", "properties": {"a": {"enum": [1, null]}}}'
    reward = {"name": "json_schema", "as": "shape", "params": {"schema_text": schema}}
    spec = changed_preset(title=characters[:200], prompts=[characters, "a\r\nb"], rewards=[reward])
    (tmp_path / "setup.toml").write_text(spec_to_toml(spec), encoding="utf-8", newline="")
    assert read_spec_file(tmp_path / "setup.toml") == spec


@pytest.mark.parametrize("name", registry.names("presets"))
def test_a_preset_differs_from_itself_in_nothing(name: str) -> None:
    assert describe_setup_changes(presets.preset_spec(name), name) == []


def test_differences_are_named_as_on_the_page_with_the_old_and_the_new_value() -> None:
    spec = changed_preset(
        title="Desk",
        data=[{"source": "hub:ada/desk"}, {"source": "sample:sums", "weight": 2}],
        holdout={"share": 0.1},
        knobs={"epochs": 2.0, "learning_rate": 0.004, "batch_size": 16, "max_length": 256},
        rewards=[{"name": "exact_match", "as": "correct", "params": {"ignore_case": True}}],
    )
    changes = {
        change["path"]: (change["title"], change["before"], change["after"])
        for change in describe_setup_changes(spec, "first_tune")
    }
    assert changes["title"] == ("Name of the run", "none", "Desk")  # with other examples the preset has no name for it
    assert changes["data.0.source"] == ("Examples", "sample:tickets", "hub:ada/desk")
    assert changes["data.1"] == ("Examples", "none", "sample:sums")
    assert changes["holdout.split"] == ("Kept aside: a split of the examples", "holdout", "none")
    assert changes["knobs.epochs"] == ("Epochs", "5", "2")
    assert changes["rewards.correct.params.ignore_case"] == ("Reward “correct”: ignore case", "off", "on")
    assert "knobs.learning_rate" not in changes
    assert list(changes)[:2] == ["title", "data.0.source"]  # as in the form


def test_settings_of_another_method_are_compared_with_what_that_method_starts_from() -> None:
    spec = changed_preset(method="pretrain", data=[{"source": "sample:diary"}], knobs={"epochs": 3.0})
    changes = {
        change["path"]: (change["before"], change["after"]) for change in describe_setup_changes(spec, "first_tune")
    }
    assert changes["method"] == ("Imitate examples", "Read plain text")
    assert {path for path in changes if path.startswith("knobs.")} == {"knobs.epochs"}


def test_the_view_shows_the_setup_of_a_run_and_its_command_repeats_it(run: Run) -> None:
    answer = read_run_setup(run.id)["answer"]
    assert (answer["title"], answer["preset"], answer["result"], answer["log"]) == (
        "Größe <b> “x”",
        "First tune",
        "",
        "",
    )
    assert [change["path"] for change in answer["changes"]] == ["title", "seed"]
    home, *command = shlex.split(answer["command"])
    assert home == f"TUNESMITH_HOME={local_workspace().path}"
    assert command[:4] == ["python", "-m", "app", "run"]
    assert read_setup(command[4], []) == run.spec
    assert read_run_setup("20260101-000000-none-aaaa")["problem"]["text"] == "There is no such run here."


def test_the_setup_of_a_damaged_run_is_refused_in_words(run: Run) -> None:
    (run.path / "spec.json").write_text("{")
    assert "spec.json" in read_run_setup(run.id)["problem"]["text"]


@pytest.mark.slow
def test_setup_log_and_result_are_downloaded_as_files(run: Run, get: Callable[..., Any], tmp_path: Path) -> None:
    (run.path / "log.txt").write_bytes(b"first\n@tunesmith {}\n" + b"last \xff\n" * 9_000)
    (run.adapter / "more").mkdir(parents=True)
    weights = bytes(range(256)) * 12_000
    (run.adapter / "adapter_model.safetensors").write_bytes(weights)
    (run.adapter / "more" / "a.json").write_text("{}")
    (run.adapter / "outside").symlink_to("/etc/passwd")
    (tmp_path / "setup.toml").write_bytes(get("setup").content)
    assert read_spec_file(tmp_path / "setup.toml") == run.spec
    assert get("setup").headers["content-disposition"] == 'attachment; filename="gr-e-b-x.toml"'
    assert get("log").content == b"first\n" + b"last \xff\n" * 9_000
    assert (get("profile").status_code, read_run_setup(run.id)["answer"]["profile"]) == (404, "")
    (run.path / PROFILE_FILE).write_bytes(b"trace")
    assert (get("profile").content, read_run_setup(run.id)["answer"]["profile"]) == (b"trace", "1 kB")
    with zipfile.ZipFile(io.BytesIO(get("result").content)) as archive:
        assert archive.testzip() is None
        assert archive.namelist() == ["adapter/adapter_model.safetensors", "adapter/more/a.json"]
        assert archive.read("adapter/adapter_model.safetensors") == weights


def test_a_result_is_sent_in_pieces_while_it_is_read(tmp_path: Path) -> None:
    folder = tmp_path / "adapter"
    folder.mkdir()
    (folder / "model.safetensors").write_bytes(b"x" * (5 << 20))
    pieces = [len(piece) for piece in result_archive.stream_archive(folder)]
    assert max(pieces) < 2 << 20 < sum(pieces)


def test_downloads_of_missing_and_malformed_runs_get_the_same_answer(run: Run) -> None:
    app = FastAPI()
    mount_download_routes(app)
    client = TestClient(app)
    for run_id in ("20260101-000000-none-aaaa", "../../etc", ""):
        with pytest.raises(Problem, match="There is no such run here"):
            client.get("/download/setup", params={"run": run_id})
    with pytest.raises(Problem, match="has no result yet"):
        client.get("/download/result", params={"run": run.id})
