"""Pipelines: stages that build on the results of earlier ones, run by a runner process that may be killed at any moment."""

from __future__ import annotations

import os
import signal
import tomllib
from typing import Any

import pytest

from app.cli import pipeline_commands
from app.core import paths, registry
from app.core.json_files import read_json
from app.core.problems import Problem
from app.core.workspace import local_workspace
from app.data.reading import files
from app.engine.generation import best_of_n_pairs
from app.engine.model.device import Device
from app.pipelines import pipeline, pipeline_run
from app.runs import adapters, store
from app.setup.spec import Source
from tests.support import wait_until

PIPELINE_NAMES = registry.names("pipelines")
# Those for real work read datasets on the Hub: tests/test_real_presets.py checks them on rows of the same layout.
PRACTICE_PIPELINES = [name for name in PIPELINE_NAMES if pipeline.load_pipeline(name).gigabytes is None]
EVALUATION = {"source": {"source": "sample:sums", "split": "holdout"}, "rewards": [{"name": "exact_match"}]}


def build_pipeline(*stages: tuple[str, dict[str, Any]], **evaluation_changes: Any) -> pipeline.Pipeline:
    stage_dicts = [{"name": name, "setup": setup} for name, setup in stages]
    return pipeline.parse_pipeline({"title": "Two", "stages": stage_dicts, "measure": EVALUATION | evaluation_changes})


PAIRS_SOURCE = f"upload:{'0' * 64}.jsonl"
FIRST_STAGE = ("first", {"method": "sft", "data": [{"source": "sample:tickets"}]})


def test_stage_references_are_replaced_by_the_runs_of_earlier_stages() -> None:
    setup = {"method": "grpo", "model": {"start_from": "stage:first@best"}, "data": [{"source": "sample:sums"}],
             "rewards": [{"name": "exact_match", "params": {"column": "stage:first"}}]}  # fmt: skip
    second_stage = build_pipeline(FIRST_STAGE, ("second", setup)).stage("second")
    spec = pipeline.stage_spec(second_stage, "Two", {"first": "20261125-101010-a-b"})
    assert spec.model.start_from == "run:20261125-101010-a-b@best"
    assert spec.rewards[0].params["column"] == "run:20261125-101010-a-b"
    assert spec.title == "Two: second"


@pytest.mark.parametrize(("stages", "measure", "message"), [
    ([("a", {"model": {"start_from": "stage:b"}}), ("b", {})], {}, "builds on “b”, which does not come before it"),
    ([("a", {"model": {"start_from": "stage:a"}})], {}, "builds on “a”"),
    ([("a", {}), ("a", {})], {}, "two stages have the same name"),
    ([("a", None)], {}, "has a setup or tries, and not both"),
    ([("a", {})], {"rewards": [{"name": "reward_model", "params": {"model": "stage:x"}}]}, "asks for the stage “x”"),
])  # fmt: skip
def test_an_invalid_pipeline_is_refused_with_the_reason(stages: Any, measure: Any, message: str) -> None:
    with pytest.raises(Problem, match=message):
        build_pipeline(*stages, **measure)


@pytest.mark.parametrize("name", PRACTICE_PIPELINES)
def test_a_shipped_pipeline_is_documented_and_startable(name: str) -> None:
    text = (paths.ROOT / "presets" / "pipelines" / f"{name}.toml").read_text(encoding="utf-8")
    assert text.startswith("# ")
    assert tomllib.loads(text)["sentence"].endswith(".")
    pipeline_run.require_startable(pipeline.load_pipeline(name))


@pytest.mark.parametrize(("stage_name", "changes", "message"), [
    ("judge", {"method": "dpoo"}, "In the stage “judge”: There is no method called “dpoo”"),
    ("try", {"data": [{"source": "sample:nope"}]}, "In the stage “try”: The examples “sample:nope” are not there"),
    ("try", {"rewards": [{"name": "nope"}]}, "In the stage “try”: There is no reward called “nope”"),
    ("try", {"rewards": [{"name": "reward_model", "params": {"model": "run:none"}}]}, "In the stage “try”"),
    ("try", {"knobs": {"attempts": 7, "batch_size": 64}}, "In the stage “try”: .* groups of 7 attempts; try 63"),
    ("try", {"data": [{"source": "sample:tickets"}]}, "In the stage “try”"),
])  # fmt: skip
def test_errors_of_later_stages_are_reported_before_the_first_stage_starts(
    stage_name: str, changes: dict[str, Any], message: str
) -> None:
    shipped_pipeline = pipeline.load_pipeline("sums_by_judge")
    stages = [
        stage.model_copy(update={"setup": stage.setup | changes}) if stage.name == stage_name else stage
        for stage in shipped_pipeline.stages
    ]
    with pytest.raises(Problem, match=message):
        pipeline_run.require_startable(shipped_pipeline.model_copy(update={"stages": stages}))


@pytest.mark.parametrize(("best_of_n", "measure", "message"), [
    ({"source": {"source": "sample:sums"}, "rewards": [{"name": "exact"}]}, {}, "In the stage “second”: There is no reward called “exact”"),
    ({"source": {"source": "sample:sums"}, "rewards": [{"name": "exact_match"}], "attempts": 99}, {}, "In the stage “second”: .*attempts"),
    ({"source": {"source": "hub:some/where"}, "rewards": [{"name": "exact_match"}]}, {}, "In the stage “second”: The prompts of a journey"),
    (None, {"rewards": [{"name": "exact_match", "params": {"colum": "x"}}]}, "In the measure: .*Did you mean “column”"),
    (None, {"source": {"source": "sample:sumz"}}, "In the measure: .*“sample:sumz”"),
    (None, {"rewards": [{"name": "similar", "params": {"column": "wanted"}}]}, "In the measure: .*reads the column `wanted`"),
    ({"source": {"source": "sample:sums"}, "rewards": [{"name": "number", "params": {"column": "right"}}]}, {}, "reads the column `right`"),
    ({"model": "pocket", "source": {"source": "sample:sums"}, "rewards": [{"name": "number"}]}, {}, "In the stage “second”: The tries “model”"),
])  # fmt: skip
def test_best_of_n_stages_and_the_measure_are_validated(best_of_n: Any, measure: Any, message: str) -> None:
    second_stage = (
        [{"name": "second", "tries": {"model": {"start_from": "stage:first"}} | best_of_n}] if best_of_n else []
    )
    pipeline_dict = {
        "title": "Two",
        "stages": [{"name": FIRST_STAGE[0], "setup": FIRST_STAGE[1]}, *second_stage],
        "measure": EVALUATION | measure,
    }
    with pytest.raises(Problem, match=message):
        pipeline_run.require_startable(pipeline.parse_pipeline(pipeline_dict))


@pytest.mark.parametrize("name", PRACTICE_PIPELINES)
def test_a_shipped_pipeline_can_start_on_a_hugging_face_space(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SYSTEM", "spaces")
    pipeline_run.require_startable(pipeline.load_pipeline(name))


def test_pairs_of_an_earlier_stage_can_be_limited_and_used_as_holdout() -> None:
    second_stage = {
        "method": "dpo",
        "data": [{"source": "stage:made", "start": 500, "limit": 100}],
        "holdout": {"source": {"source": "stage:made"}},
    }
    best_of_n = {"source": {"source": "sample:sums"}, "rewards": [{"name": "exact_match"}]}
    pipeline_dict = {
        "title": "Two",
        "stages": [{"name": "made", "tries": best_of_n}, {"name": "second", "setup": second_stage}],
        "measure": EVALUATION,
    }
    pipeline_run.require_startable(pipeline.parse_pipeline(pipeline_dict))


@pytest.mark.parametrize(
    ("name", "invalid_setting"), [("model", "pocket"), ("data", None), ("data", ["stage:first"]), ("knobs", 3)]
)
def test_a_malformed_stage_setup_is_refused_with_the_stage_name(name: str, invalid_setting: Any) -> None:
    with pytest.raises(Problem, match="In the stage “second”: The setup"):
        pipeline_run.require_startable(
            build_pipeline(FIRST_STAGE, ("second", FIRST_STAGE[1] | {name: invalid_setting}))
        )


@pytest.mark.parametrize("name", PIPELINE_NAMES)
def test_every_stage_of_a_shipped_pipeline_has_a_valid_spec(name: str) -> None:
    shipped_pipeline = pipeline.load_pipeline(name)
    stage_results = {
        stage.name: PAIRS_SOURCE if stage.tries is not None else "20261125-101010-a-b"
        for stage in shipped_pipeline.stages
    }
    for stage in shipped_pipeline.stages:
        assert stage.sentence.endswith(".")
        pipeline.best_of_n_settings(stage, stage_results) if stage.tries is not None else pipeline.stage_spec(
            stage, shipped_pipeline.title, stage_results
        )


def test_pairs_generated_by_a_stage_are_the_data_of_a_later_one() -> None:
    setup = {"method": "dpo", "data": [{"source": "stage:first"}]}
    second_stage = build_pipeline(FIRST_STAGE, ("second", setup)).stage("second")
    assert pipeline.stage_spec(second_stage, "Two", {"first": PAIRS_SOURCE}).data[0].source == PAIRS_SOURCE


@pytest.mark.parametrize(("scores", "expected_chosen", "expected_rejected"), [
    ([0.0, 1.0, 0.5], "b", "a"), ([None, 1.0, 0.5], "b", "c"), ([1.0, 1.0, 1.0], None, None), ([None, None, None], None, None),
])  # fmt: skip
def test_a_pair_has_the_best_and_the_worst_completion_when_scores_differ(
    scores: Any, expected_chosen: Any, expected_rejected: Any
) -> None:
    pair = best_of_n_pairs.best_worst_pair("Say it.", ["a", "b", "c"], scores)
    assert (pair and (pair["chosen"][0]["content"], pair["rejected"][0]["content"])) == (
        expected_chosen and (expected_chosen, expected_rejected)
    )


def test_best_of_n_generates_and_saves_pairs_of_right_and_wrong_answers() -> None:
    settings = {
        "source": {"source": "sample:sums"},
        "rewards": [{"name": "exact_match"}],
        "attempts": 4,
        "prompts": 6,
        "longest": 6,
    }
    pairs, prompt_count = best_of_n_pairs.generate_pairs(
        pipeline.BestOfNSettings.model_validate(settings), Device("cpu")
    )
    assert prompt_count == 6
    assert pairs
    answers = {
        row["prompt"][-1]["content"]: row["answer"]
        for row in files.read_file_rows(paths.ROOT / "presets/samples/sums/train.jsonl")
    }
    for pair in pairs:
        correct_answer = answers[pair["prompt"][-1]["content"]]
        assert (pair["chosen"][0]["content"].strip(), pair["rejected"][0]["content"].strip() == correct_answer) == (
            correct_answer,
            False,
        )
    assert (
        list(
            files.read_file_rows(
                files.source_path(Source(source=best_of_n_pairs.save_pairs(local_workspace(), pairs, "Own answers")))
            )
        )
        == pairs
    )


@pytest.mark.parametrize("scores", [(0.9, 0.4), (0.0, -0.4)])  # a score may be a negative loss; 0 counts as a score
def test_a_checkpoint_is_located_by_step_or_best_score(scores: tuple[float, float]) -> None:
    folder = local_workspace().runs / "20261125-101010-a-b" / "checkpoints"
    for step, score in zip((10, 20), scores, strict=True):
        (folder / f"checkpoint-{step}").mkdir(parents=True)
        (folder / f"checkpoint-{step}" / "whole.json").write_text(f'{{"step": {step}, "score": {score}}}')
    assert adapters.locate_adapter("run:20261125-101010-a-b@best").endswith("checkpoint-10")
    assert adapters.locate_adapter("run:20261125-101010-a-b@20").endswith("checkpoint-20")
    for suffix in ("@30", "@../..", "@", ""):
        with pytest.raises(Problem, match="to go on from"):
            adapters.locate_adapter(f"run:20261125-101010-a-b{suffix}")


def test_command_line_settings_change_training_and_best_of_n_stages() -> None:
    changed_pipeline = pipeline_commands.with_changed_settings(
        pipeline.load_pipeline("sums_by_own_pairs"), ["answer.attempts=4", "imitate.knobs.steps=3"]
    )
    assert changed_pipeline.stage("answer").tries["attempts"] == 4
    assert changed_pipeline.stage("imitate").setup["knobs"]["steps"] == 3
    with pytest.raises(Problem, match="sets nothing"):
        pipeline_commands.with_changed_settings(changed_pipeline, ["nobody.attempts=4"])


SHORT_SETTINGS = [
    "imitate.knobs.steps=4",
    "prefer.knobs.steps=4",
    "imitate.holdout={}",
    "prefer.holdout={}",
    "prefer.prompts=[]",
    "imitate.prompts=[]",
]


@pytest.mark.full  # the bench chains runs whole pipelines
@pytest.mark.slow
def test_a_pipeline_resumes_after_its_runner_is_killed_and_compares_all_stages() -> None:
    short_pipeline = pipeline_commands.with_changed_settings(pipeline.load_pipeline("polite_pairs"), SHORT_SETTINGS)
    run = pipeline_run.create_pipeline_run(
        local_workspace(),
        short_pipeline.model_copy(
            update={"measure": short_pipeline.measure.model_copy(update={"prompts": 4, "longest": 4})}
        ),
    )
    pipeline_run.start_runner(run)
    wait_until(lambda: run.stage_run("imitate") and store.is_alive(run.stage_run("imitate")), run=None)
    os.kill(read_json(run.path / "handle.json")["pid"], signal.SIGKILL)
    wait_until(lambda: not run.is_active)
    assert pipeline_run.summarize_pipeline_run(run)["state"] == "waiting"
    pipeline_run.start_runner(run)
    wait_until(lambda: run.compared, 240)
    summary = wait_until(
        lambda: (latest_summary := pipeline_run.summarize_pipeline_run(run))["state"] == "finished" and latest_summary
    )
    assert [stage["state"] for stage in summary["stages"]] == ["finished", "finished"]
    assert len(store.list_runs(local_workspace())) == 2, (
        "the stage that continued without its runner must not be started again"
    )
    assert run.stage_run("prefer").spec.model.start_from == f"run:{summary['stages'][0]['run']}"
    assert [row["stage"] for row in run.compared["rows"]] == ["start", "imitate", "prefer"]
    assert all(0 <= row["scores"]["kind"] <= 1 for row in run.compared["rows"])
