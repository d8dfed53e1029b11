"""Chains: stages that build on one another, walked by a conductor that may be killed at any moment."""

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
from app.data import files
from app.engine.generation import best_of_n_pairs
from app.engine.model.device import Device
from app.pipelines import pipeline, pipeline_run
from app.runs import adapters, store
from app.setup.spec import Source
from tests.support import until

CHAINS = registry.names("pipelines")
MEASURE = {"source": {"source": "sample:sums", "split": "holdout"}, "rewards": [{"name": "exact_match"}]}


def chain_with(*stages: tuple[str, dict[str, Any]], **more: Any) -> pipeline.Pipeline:
    made = [{"name": name, "setup": setup} for name, setup in stages]
    return pipeline.parse_pipeline({"title": "Two", "stages": made, "measure": MEASURE | more})


PAIRS = f"upload:{'0' * 64}.jsonl"
FIRST = ("first", {"method": "sft", "data": [{"source": "sample:tickets"}]})


def test_a_stage_starts_from_the_runs_of_earlier_ones_wherever_a_run_is_named() -> None:
    setup = {"method": "grpo", "model": {"start_from": "stage:first@best"}, "data": [{"source": "sample:sums"}],
             "rewards": [{"name": "exact_match", "params": {"column": "stage:first"}}]}  # fmt: skip
    second = chain_with(FIRST, ("second", setup)).stage("second")
    spec = pipeline.stage_spec(second, "Two", {"first": "20261125-101010-a-b"})
    assert spec.model.start_from == "run:20261125-101010-a-b@best"
    assert spec.rewards[0].params["column"] == "run:20261125-101010-a-b"
    assert spec.title == "Two: second"


@pytest.mark.parametrize(("stages", "measure", "why"), [
    ([("a", {"model": {"start_from": "stage:b"}}), ("b", {})], {}, "builds on “b”, which does not come before it"),
    ([("a", {"model": {"start_from": "stage:a"}})], {}, "builds on “a”"),
    ([("a", {}), ("a", {})], {}, "two stages have the same name"),
    ([("a", None)], {}, "has a setup or tries, and not both"),
    ([("a", {})], {"rewards": [{"name": "reward_model", "params": {"model": "stage:x"}}]}, "asks for the stage “x”"),
])  # fmt: skip
def test_a_chain_that_cannot_be_walked_is_refused_in_a_sentence(stages: Any, measure: Any, why: str) -> None:
    with pytest.raises(Problem, match=why):
        chain_with(*stages, **measure)


@pytest.mark.parametrize("name", CHAINS)
def test_a_shipped_chain_is_commented_and_each_of_its_stages_can_start(name: str) -> None:
    text = (paths.ROOT / "presets" / "pipelines" / f"{name}.toml").read_text(encoding="utf-8")
    assert text.startswith("# ")
    assert tomllib.loads(text)["sentence"].endswith(".")
    pipeline_run.require_startable(pipeline.load_pipeline(name))


@pytest.mark.parametrize(("stage", "changes", "why"), [
    ("judge", {"method": "dpoo"}, "In the stage “judge”: There is no method called “dpoo”"),
    ("try", {"data": [{"source": "sample:nope"}]}, "In the stage “try”: The examples “sample:nope” are not there"),
    ("try", {"rewards": [{"name": "nope"}]}, "In the stage “try”: There is no reward called “nope”"),
    ("try", {"rewards": [{"name": "reward_model", "params": {"model": "run:none"}}]}, "In the stage “try”"),
    ("try", {"knobs": {"attempts": 7, "batch_size": 64}}, "In the stage “try”: .* groups of 7 attempts; try 63"),
    ("try", {"data": [{"source": "sample:tickets"}]}, "In the stage “try”"),
])  # fmt: skip
def test_what_a_later_stage_lacks_is_said_before_the_first_begins(
    stage: str, changes: dict[str, Any], why: str
) -> None:
    told = pipeline.load_pipeline("sums_by_judge")
    stages = [
        one.model_copy(update={"setup": one.setup | changes}) if one.name == stage else one for one in told.stages
    ]
    with pytest.raises(Problem, match=why):
        pipeline_run.require_startable(told.model_copy(update={"stages": stages}))


@pytest.mark.parametrize(("tries", "measure", "why"), [
    ({"source": {"source": "sample:sums"}, "rewards": [{"name": "exact"}]}, {}, "In the stage “second”: There is no reward called “exact”"),
    ({"source": {"source": "sample:sums"}, "rewards": [{"name": "exact_match"}], "attempts": 99}, {}, "In the stage “second”: .*attempts"),
    ({"source": {"source": "hub:some/where"}, "rewards": [{"name": "exact_match"}]}, {}, "In the stage “second”: The prompts of a journey"),
    (None, {"rewards": [{"name": "exact_match", "params": {"colum": "x"}}]}, "In the measure: .*Did you mean “column”"),
    (None, {"source": {"source": "sample:sumz"}}, "In the measure: .*“sample:sumz”"),
    (None, {"rewards": [{"name": "similar", "params": {"column": "wanted"}}]}, "In the measure: .*reads the column `wanted`"),
    ({"source": {"source": "sample:sums"}, "rewards": [{"name": "number", "params": {"column": "right"}}]}, {}, "reads the column `right`"),
    ({"model": "pocket", "source": {"source": "sample:sums"}, "rewards": [{"name": "number"}]}, {}, "In the stage “second”: The tries “model”"),
])  # fmt: skip
def test_tries_and_the_measure_are_looked_at_too(tries: Any, measure: Any, why: str) -> None:
    second = [{"name": "second", "tries": {"model": {"start_from": "stage:first"}} | tries}] if tries else []
    made = {"title": "Two", "stages": [{"name": FIRST[0], "setup": FIRST[1]}, *second], "measure": MEASURE | measure}
    with pytest.raises(Problem, match=why):
        pipeline_run.require_startable(pipeline.parse_pipeline(made))


@pytest.mark.parametrize("name", CHAINS)
def test_a_space_walks_them_too(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SYSTEM", "spaces")
    pipeline_run.require_startable(pipeline.load_pipeline(name))


def test_pairs_to_come_may_be_cut_mapped_and_held_out() -> None:
    second = {
        "method": "dpo",
        "data": [{"source": "stage:made", "start": 500, "limit": 100}],
        "holdout": {"source": {"source": "stage:made"}},
    }
    tries = {"source": {"source": "sample:sums"}, "rewards": [{"name": "exact_match"}]}
    made = {
        "title": "Two",
        "stages": [{"name": "made", "tries": tries}, {"name": "second", "setup": second}],
        "measure": MEASURE,
    }
    pipeline_run.require_startable(pipeline.parse_pipeline(made))


@pytest.mark.parametrize(
    ("name", "value"), [("model", "pocket"), ("data", None), ("data", ["stage:first"]), ("knobs", 3)]
)
def test_a_stage_of_another_shape_is_refused_in_a_sentence(name: str, value: Any) -> None:
    with pytest.raises(Problem, match="In the stage “second”: The setup"):
        pipeline_run.require_startable(chain_with(FIRST, ("second", FIRST[1] | {name: value})))


@pytest.mark.parametrize("name", CHAINS)
def test_every_stage_of_a_shipped_chain_is_a_setup(name: str) -> None:
    told = pipeline.load_pipeline(name)
    made = {one.name: PAIRS if one.tries is not None else "20261125-101010-a-b" for one in told.stages}
    for stage in told.stages:
        assert stage.sentence.endswith(".")
        pipeline.best_of_n_settings(stage, made) if stage.tries is not None else pipeline.stage_spec(
            stage, told.title, made
        )


def test_pairs_that_a_stage_made_are_the_examples_of_a_later_one() -> None:
    setup = {"method": "dpo", "data": [{"source": "stage:first"}]}
    second = chain_with(FIRST, ("second", setup)).stage("second")
    assert pipeline.stage_spec(second, "Two", {"first": PAIRS}).data[0].source == PAIRS


@pytest.mark.parametrize(("totals", "better", "worse"), [
    ([0.0, 1.0, 0.5], "b", "a"), ([None, 1.0, 0.5], "b", "c"), ([1.0, 1.0, 1.0], None, None), ([None, None, None], None, None),
])  # fmt: skip
def test_the_best_answer_is_preferred_over_the_worst_where_they_differ(totals: Any, better: Any, worse: Any) -> None:
    pair = best_of_n_pairs.best_worst_pair("Say it.", ["a", "b", "c"], totals)
    assert (pair and (pair["chosen"][0]["content"], pair["rejected"][0]["content"])) == (better and (better, worse))


def test_a_model_makes_pairs_of_its_own_answers() -> None:
    setup = {
        "source": {"source": "sample:sums"},
        "rewards": [{"name": "exact_match"}],
        "attempts": 4,
        "prompts": 6,
        "longest": 6,
    }
    pairs, asked = best_of_n_pairs.generate_pairs(pipeline.BestOfNSettings.model_validate(setup), Device("cpu"))
    assert asked == 6
    assert pairs
    answers = {
        row["prompt"][-1]["content"]: row["answer"]
        for row in files.read_file_rows(paths.ROOT / "presets/samples/sums/train.jsonl")
    }
    for pair in pairs:
        wanted = answers[pair["prompt"][-1]["content"]]
        assert (pair["chosen"][0]["content"].strip(), pair["rejected"][0]["content"].strip() == wanted) == (
            wanted,
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


@pytest.mark.parametrize("scores", [(0.9, 0.4), (0.0, -0.4)])  # a score may be a negative loss, and 0 is one
def test_a_checkpoint_is_named_by_its_step_or_as_the_best(scores: tuple[float, float]) -> None:
    folder = local_workspace().runs / "20261125-101010-a-b" / "checkpoints"
    for step, score in zip((10, 20), scores, strict=True):
        (folder / f"checkpoint-{step}").mkdir(parents=True)
        (folder / f"checkpoint-{step}" / "whole.json").write_text(f'{{"step": {step}, "score": {score}}}')
    assert adapters.locate_adapter("run:20261125-101010-a-b@best").endswith("checkpoint-10")
    assert adapters.locate_adapter("run:20261125-101010-a-b@20").endswith("checkpoint-20")
    for wrong in ("@30", "@../..", "@", ""):
        with pytest.raises(Problem, match="to go on from"):
            adapters.locate_adapter(f"run:20261125-101010-a-b{wrong}")


def test_the_command_line_changes_a_setup_and_how_pairs_are_made() -> None:
    made = pipeline_commands.with_changed_settings(
        pipeline.load_pipeline("sums_by_own_pairs"), ["answer.attempts=4", "imitate.knobs.steps=3"]
    )
    assert made.stage("answer").tries["attempts"] == 4
    assert made.stage("imitate").setup["knobs"]["steps"] == 3
    with pytest.raises(Problem, match="sets nothing"):
        pipeline_commands.with_changed_settings(made, ["nobody.attempts=4"])


SHORT = [
    "imitate.knobs.steps=4",
    "prefer.knobs.steps=4",
    "imitate.holdout={}",
    "prefer.holdout={}",
    "prefer.prompts=[]",
    "imitate.prompts=[]",
]


@pytest.mark.slow
def test_a_killed_conductor_loses_nothing_and_all_stages_are_compared() -> None:
    made = pipeline_commands.with_changed_settings(pipeline.load_pipeline("polite_pairs"), SHORT)
    journey = pipeline_run.create_pipeline_run(
        local_workspace(),
        made.model_copy(update={"measure": made.measure.model_copy(update={"prompts": 4, "longest": 4})}),
    )
    pipeline_run.start_runner(journey)
    until(lambda: journey.stage_run("imitate") and store.is_alive(journey.stage_run("imitate")), run=None)
    os.kill(read_json(journey.path / "handle.json")["pid"], signal.SIGKILL)
    until(lambda: not journey.is_active)
    assert pipeline_run.summarize_pipeline_run(journey)["state"] == "waiting"
    pipeline_run.start_runner(journey)
    until(lambda: journey.compared, 240)
    told = until(lambda: (found := pipeline_run.summarize_pipeline_run(journey))["state"] == "finished" and found)
    assert [one["state"] for one in told["stages"]] == ["finished", "finished"]
    assert len(store.list_runs(local_workspace())) == 2, (
        "the stage that went on without its conductor was not begun again"
    )
    assert journey.stage_run("prefer").spec.model.start_from == f"run:{told['stages'][0]['run']}"
    assert [row["stage"] for row in journey.compared["rows"]] == ["start", "imitate", "prefer"]
    assert all(0 <= row["scores"]["kind"] <= 1 for row in journey.compared["rows"])
