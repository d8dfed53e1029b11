"""Preflight: a run that is certain to fail is refused in one sentence before it is started."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from app.core import paths, registry
from app.core.problems import Problem
from app.planning import preflight, presets
from app.setup.spec import Spec, parse_spec
from tests.support import addition_rows, conversation_rows, prompt_completion_rows, text_rows, write_rows


def parse_setup(source: str, method: str = "sft", **spec_fields: Any) -> Spec:
    return parse_spec({"method": method, "data": [{"source": source}]} | spec_fields)


def refusal(*spec_args: Any, **spec_fields: Any) -> Problem:
    with pytest.raises(Problem) as exc_info:
        preflight.check_spec(parse_setup(*spec_args, **spec_fields))
    assert exc_info.value.advice
    return exc_info.value


@pytest.mark.parametrize("name", registry.names("presets"))
def test_every_preset_passes(name: str) -> None:
    assert preflight.check_spec(presets.unresolved_preset_spec(name)) == presets.preset_spec(name)


@pytest.mark.parametrize(("method", "build_rows", "spec_fields"), [("sft", conversation_rows, {}), ("sft", prompt_completion_rows, {}), ("sft", text_rows, {}), ("pretrain", text_rows, {}),
                                                                   ("grpo", addition_rows, {"rewards": [{"name": "exact_match"}]})])  # fmt: skip
def test_rows_that_fit_the_method_pass(
    method: str, build_rows: Any, spec_fields: dict[str, Any], tmp_path: Path
) -> None:
    assert preflight.check_spec(
        parse_setup(write_rows(tmp_path / "a.jsonl", build_rows(3)), method, **spec_fields)
    ).knobs["learning_rate"]


def test_a_missing_column_is_named_with_the_columns_of_the_table(tmp_path: Path) -> None:
    problem = refusal(write_rows(tmp_path / "a.jsonl", [{"frage": "a", "antwort": "b"}]))
    assert problem.reason == "wrong_column"
    assert "`frage`, `antwort`" in problem.text
    assert "`prompt` and `completion`" in problem.text


def test_a_missing_mapped_column_suggests_the_nearest_name(tmp_path: Path) -> None:
    source = write_rows(tmp_path / "a.jsonl", [{"question": "a", "answer": "b"}])
    sources = [{"source": source, "mapping": {"prompt": "qestion", "completion": "answer"}}]
    with pytest.raises(Problem) as exc_info:
        preflight.check_spec(parse_spec({"method": "sft", "data": sources}))
    assert exc_info.value.advice == "Did you mean “question”?"


def test_a_table_without_usable_rows_counts_them_by_reason(tmp_path: Path) -> None:
    rows = [{"prompt": "a", "completion": ""}, {"prompt": "", "completion": "b"}, {"prompt": "a", "completion": " "}]
    problem = refusal(write_rows(tmp_path / "a.jsonl", rows))
    assert problem.reason == "no_rows"
    assert "3 × empty prompt or completion" in problem.text


def test_an_empty_file_and_a_missing_file_give_different_errors(tmp_path: Path) -> None:
    assert "are empty" in refusal(write_rows(tmp_path / "a.jsonl", [])).text
    assert "are not there" in refusal(f"path:{tmp_path}/b.jsonl").text


def test_the_second_source_is_checked_too(tmp_path: Path) -> None:
    sources = [{"source": "sample:tickets"}, {"source": f"path:{tmp_path}/gone.csv"}]
    with pytest.raises(Problem, match=r"gone\.csv"):
        preflight.check_spec(parse_spec({"method": "sft", "data": sources}))


def test_a_reward_method_without_rewards_is_refused(tmp_path: Path) -> None:
    problem = refusal(write_rows(tmp_path / "a.jsonl", addition_rows(3)), "grpo")
    assert problem.text == "“Earn rewards” needs at least one reward."
    assert "exact_match" in problem.advice


def test_a_reward_with_a_missing_column_is_refused(tmp_path: Path) -> None:
    source = write_rows(tmp_path / "a.jsonl", addition_rows(3))
    problem = refusal(source, "grpo", rewards=[{"name": "number", "params": {"column": "result"}}])
    assert problem.text == "The reward “number” reads the column `result`, and the examples have `prompt`, `answer`."


def test_the_holdout_split_must_exist_and_differ_from_the_training_split() -> None:
    assert "are not there" in refusal("sample:tickets", holdout={"split": "test"}).text
    assert "train" in refusal("sample:tickets", holdout={"split": "train"}).text, (
        "an evaluation on the training rows would always look good"
    )


def test_streaming_needs_a_number_of_steps(tmp_path: Path) -> None:
    source = write_rows(tmp_path / "a.jsonl", text_rows(3))
    assert refusal(source, "pretrain", knobs={"streaming": True}).advice == "Set a number of steps."
    assert preflight.check_spec(parse_setup(source, "pretrain", knobs={"streaming": True, "steps": 5}))


def test_a_batch_size_that_attempts_do_not_divide_is_refused(tmp_path: Path) -> None:
    """TRL would raise only after the run has loaded everything."""
    source = write_rows(tmp_path / "a.jsonl", addition_rows(3))
    problem = refusal(source, "grpo", rewards=[{"name": "number"}], knobs={"batch_size": 6, "attempts": 4})
    assert "6" in problem.text
    assert "4" in problem.text


def test_a_run_to_start_from_must_exist() -> None:
    assert (
        "no result to go on from" in refusal("sample:tickets", model={"start_from": "run:20261122-000000-x-aaaa"}).text
    )


@pytest.mark.parametrize("start_from", ["run:../../..", "run:", "run:.", "run:a/b"])
def test_a_run_to_start_from_must_be_a_name_and_not_a_path(start_from: str, home: Path) -> None:
    for folder in (
        home / "runs" / "adapter",
        home / "adapter",
        home.parent.parent / "adapter",
        home / "runs" / "a" / "b" / "adapter",
    ):
        folder.mkdir(parents=True, exist_ok=True)
    refusal("sample:tickets", model={"start_from": start_from})


def test_a_model_without_weights_is_refused(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "llama"}))
    assert str(tmp_path) in refusal("sample:tickets", model={"id": str(tmp_path)}).text


def test_a_refused_spec_creates_no_run(tmp_path: Path, home: Path) -> None:
    refusal(f"path:{tmp_path}/b.jsonl")
    assert list((home / "runs").iterdir()) == []


def test_a_contains_reward_needs_words_or_a_column(tmp_path: Path) -> None:
    source = write_rows(tmp_path / "a.jsonl", addition_rows(3))
    problem = refusal(source, "grpo", rewards=[{"name": "contains", "as": "polite"}])
    assert problem.text == "The reward “polite” has no words to look for."
    for params in ({"words": ["please"]}, {"column": "answer"}):
        assert preflight.check_spec(parse_setup(source, "grpo", rewards=[{"name": "contains", "params": params}]))


@pytest.mark.parametrize(
    "local_source_or_model", [{"data": [{"source": "path:HERE/rows.jsonl"}]}, {"model": {"id": "HERE/model"}}]
)
def test_a_space_refuses_data_and_models_from_its_own_disk(
    local_source_or_model: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_rows(tmp_path / "rows.jsonl", prompt_completion_rows(8))
    shutil.copytree(paths.ROOT / "presets" / "pocket", tmp_path / "model")
    local_changes = json.loads(json.dumps(local_source_or_model).replace("HERE", str(tmp_path)))
    spec = parse_spec(presets.unresolved_preset_spec("first_tune").to_dict() | {"holdout": {}} | local_changes)
    preflight.check_spec(spec)
    monkeypatch.setenv("SYSTEM", "spaces")
    with pytest.raises(Problem, match="a file of the machine this page runs on"):
        preflight.check_spec(spec)


def test_a_warmup_as_long_as_the_run_is_refused(tmp_path: Path) -> None:
    source = write_rows(tmp_path / "rows.jsonl", conversation_rows(10))
    assert preflight.check_spec(parse_setup(source, knobs={"steps": 8, "warmup_steps": 7}))
    problem = refusal(source, knobs={"steps": 8, "warmup_steps": 8})
    assert problem.text == "The warm-up of 8 steps is as long as the whole run, which has 8."
