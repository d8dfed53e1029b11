"""Earlier formats: runs, links, presets, pipelines and Specs written by an earlier version are still read.

`tests/earlier` holds the files as that version wrote them, except for folder names.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from app.core.problems import Problem
from app.core.workspace import local_workspace
from app.history import run_list
from app.history.result_words import result_words
from app.history.snapshot import RunSnapshot
from app.pipelines.pipeline import parse_pipeline
from app.planning import launcher, links, presets
from app.planning.resolve import resolve
from app.runs import adapters, events, result, store
from app.runs.store import Run
from app.setup.spec import Launch, read_settings_file, read_spec_file
from tests.support import run_command_line

EARLIER_FOLDER = Path(__file__).parent / "earlier"
RUN_ID = "20261130-203431-first-tune-tsyd"
TUNE_LINK = "http://127.0.0.1:7860/?setup=eyJ2IjoxLCJwcmVzZXQiOiJmaXJzdF90dW5lIiwic2V0Ijp7Imtub2JzLmxlYXJuaW5nX3JhdGUiOjAuMDAyfX0"
REWARD_LINK = "http://127.0.0.1:7860/?setup=eyJ2IjoxLCJwcmVzZXQiOiJmaXJzdF9yZXdhcmQiLCJzZXQiOnsia25vYnMuYXR0ZW1wdHMiOjE2LCJrbm9icy5sb3NzIjoiZGFwbyJ9fQ"
SETTINGS_SINCE = {  # that earlier Specs do not have
    "keep_best": True,
    "best_metric": "",
    "attention": "auto",
    "adam_beta1": 0.9,
    "adam_beta2": 0.999,
    "adam_epsilon": 1e-08,
    "loraplus_lr_ratio": 1.0,
    "dataloader_workers": 0,
}
SPEC_FIELDS_SINCE = {"eval_sets": []}
ADAPTER_SETTINGS_SINCE = {"init": "default"}
SOURCE_SETTINGS_SINCE = {"empty_words": "auto", "labels": {}}
VERDICT = "On 100 examples it never saw, “exactly the right answer” rose from 0 % to 9 %. 12 steps are few: try 120."


@pytest.fixture
def run(home: Path) -> Run:
    folder = home / "runs" / RUN_ID
    shutil.copytree(EARLIER_FOLDER / RUN_ID, folder)
    return Run(folder)


# -- runs ---------------------------------------------------------------------------------------------------------


def test_the_spec_and_launch_of_an_earlier_run_are_read(run: Run) -> None:
    assert store.get_run(local_workspace(), RUN_ID) == run
    assert (run.spec.title, run.spec.method, run.spec.knobs["steps"]) == ("First tune", "sft", 12)
    stored_spec = json.loads((run.path / "spec.json").read_text())
    assert run.spec.to_dict() == stored_spec | SPEC_FIELDS_SINCE | {
        "adapter": stored_spec["adapter"] | ADAPTER_SETTINGS_SINCE,
        "data": [source | SOURCE_SETTINGS_SINCE for source in stored_spec["data"]],
    }
    assert run.launch == Launch()
    assert (run.handle["backend"], run.handle["pid"], store.is_alive(run)) == ("local", 18061, False)


def test_an_earlier_run_is_listed_as_finished_with_its_result(run: Run) -> None:
    (summary,) = run_list.list_summaries(local_workspace())
    assert (summary["title"], summary["state"], summary["step"], summary["of"]) == ("First tune", "finished", 12, 12)
    assert summary["result"] == "0 % → 9 %, too few steps"
    assert len(summary["spark"]) == 12


def test_the_snapshot_of_an_earlier_run_has_its_curves_samples_and_verdict(run: Run) -> None:
    snapshot = RunSnapshot(run)
    snapshot.refresh()
    snapshot_json = snapshot.snapshot_json()
    assert VERDICT in snapshot_json
    assert "0.7256" in snapshot_json, "the loss of the last step"
    assert [len(snapshot.read_sample(seq)["rows"]) for seq in (7, 32)] == [6, 6]
    assert events.last_event(run.events)


def test_the_command_line_shows_an_earlier_run(run: Run) -> None:
    run_fields = json.loads(run_command_line("show", RUN_ID, "--json").stdout)
    assert (run_fields["state"], run_fields["last"]["verdict"]) == ("finished", VERDICT)
    assert [test["metrics"]["eval/correct"] for test in run_fields["tests"]] == [0.0, 0.0, 0.0, 0.09]


def test_nothing_is_said_of_the_result_of_an_earlier_run_and_it_stays(run: Run) -> None:
    """It has no record of the checkpoint that its result is from, and no checkpoint."""
    assert (result.read_result(run), result_words(run)) == (None, "")
    snapshot = RunSnapshot(run)
    snapshot.refresh()
    assert (snapshot.status.result, snapshot.status.other) == (None, None)
    with pytest.raises(Problem, match="is not known"):
        result.use_checkpoint(run, "last")
    with pytest.raises(Problem, match="no checkpoint to go on from"):
        launcher.extend_run(run, 5)


@pytest.mark.slow
def test_an_earlier_run_can_initialize_another_run_but_cannot_be_resumed(run: Run) -> None:
    assert adapters.locate_adapter(f"run:{RUN_ID}") == str(run.adapter)
    assert launcher.stop_run(run) == "not running"
    run_command_line("resume", RUN_ID, expected_exit_code=2)


# -- links, presets, pipelines and Specs --------------------------------------------------------------------------


def test_earlier_links_decode_to_the_same_setups() -> None:
    assert links.decode_setup(TUNE_LINK).to_dict() == presets.preset_spec("first_tune").to_dict() | {
        "knobs": presets.preset_spec("first_tune").knobs | {"learning_rate": 0.002}
    }
    reward_spec = links.decode_setup(REWARD_LINK)
    assert (reward_spec.method, reward_spec.knobs["attempts"], reward_spec.knobs["loss"]) == ("grpo", 16, "dapo")
    assert links.link_to_setup(reward_spec) == REWARD_LINK


def test_an_earlier_preset_and_spec_resolve_to_the_same_spec() -> None:
    spec = read_spec_file(EARLIER_FOLDER / "spec.json")
    with_new_settings = spec.model_copy(update={"knobs": spec.knobs | SETTINGS_SINCE})
    assert resolve(spec) == with_new_settings, "every setting in the stored Spec still exists, and no other is missing"
    assert resolve(read_spec_file(EARLIER_FOLDER / "preset.toml")) == with_new_settings


def test_an_earlier_pipeline_is_read() -> None:
    pipeline = parse_pipeline(read_settings_file(EARLIER_FOLDER / "pipeline.toml"))
    assert [(stage.name, stage.setup and stage.setup["method"]) for stage in pipeline.stages] == [
        ("imitate", "sft"),
        ("try", "grpo"),
    ]


def test_a_spec_of_a_later_version_is_refused(run: Run) -> None:
    (run.path / "spec.json").write_text(run.spec.to_json().replace('"v": 1', '"v": 2'))
    with pytest.raises(Problem):
        _ = run.spec
