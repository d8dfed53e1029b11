"""Preflight: what can be known to fail is said in a sentence before anything is started."""

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
from tests.support import chats, pairs, sums, texts, write_rows


def spec(source: str, method: str = "sft", **other: Any) -> Spec:
    return parse_spec({"method": method, "data": [{"source": source}]} | other)


def refused(*what: Any, **other: Any) -> Problem:
    with pytest.raises(Problem) as found:
        preflight.check_spec(spec(*what, **other))
    assert found.value.advice
    return found.value


@pytest.mark.parametrize("name", registry.names("presets"))
def test_every_preset_is_ready_to_start(name: str) -> None:
    assert preflight.check_spec(presets.unresolved_preset_spec(name)) == presets.preset_spec(name)


@pytest.mark.parametrize(("method", "rows", "more"), [("sft", chats, {}), ("sft", pairs, {}), ("sft", texts, {}), ("pretrain", texts, {}),
                                                      ("grpo", sums, {"rewards": [{"name": "exact_match"}]})])  # fmt: skip
def test_rows_that_fit_the_method_pass(method: str, rows: Any, more: dict[str, Any], tmp_path: Path) -> None:
    assert preflight.check_spec(spec(write_rows(tmp_path / "a.jsonl", rows(3)), method, **more)).knobs["learning_rate"]


def test_a_column_that_is_missing_is_named_beside_those_found(tmp_path: Path) -> None:
    problem = refused(write_rows(tmp_path / "a.jsonl", [{"frage": "a", "antwort": "b"}]))
    assert problem.reason == "wrong_column"
    assert "`frage`, `antwort`" in problem.text
    assert "`prompt` and `completion`" in problem.text


def test_a_mapped_column_that_is_missing_names_the_nearest(tmp_path: Path) -> None:
    source = write_rows(tmp_path / "a.jsonl", [{"question": "a", "answer": "b"}])
    data = [{"source": source, "mapping": {"prompt": "qestion", "completion": "answer"}}]
    with pytest.raises(Problem) as found:
        preflight.check_spec(parse_spec({"method": "sft", "data": data}))
    assert found.value.advice == "Did you mean “question”?"


def test_rows_that_are_all_left_out_are_counted_by_reason(tmp_path: Path) -> None:
    rows = [{"prompt": "a", "completion": ""}, {"prompt": "", "completion": "b"}, {"prompt": "a", "completion": " "}]
    problem = refused(write_rows(tmp_path / "a.jsonl", rows))
    assert problem.reason == "no_rows"
    assert "3 × empty prompt or completion" in problem.text


def test_an_empty_file_and_a_missing_one_are_different(tmp_path: Path) -> None:
    assert "are empty" in refused(write_rows(tmp_path / "a.jsonl", [])).text
    assert "are not there" in refused(f"path:{tmp_path}/b.jsonl").text


def test_the_second_source_is_looked_at_too(tmp_path: Path) -> None:
    data = [{"source": "sample:tickets"}, {"source": f"path:{tmp_path}/gone.csv"}]
    with pytest.raises(Problem, match=r"gone\.csv"):
        preflight.check_spec(parse_spec({"method": "sft", "data": data}))


def test_a_method_that_earns_rewards_needs_one(tmp_path: Path) -> None:
    problem = refused(write_rows(tmp_path / "a.jsonl", sums(3)), "grpo")
    assert problem.text == "“Earn rewards” needs at least one reward."
    assert "exact_match" in problem.advice


def test_a_reward_reads_a_column_that_is_there(tmp_path: Path) -> None:
    source = write_rows(tmp_path / "a.jsonl", sums(3))
    problem = refused(source, "grpo", rewards=[{"name": "number", "params": {"column": "result"}}])
    assert problem.text == "The reward “number” reads the column `result`, and the examples have `prompt`, `answer`."


def test_a_held_out_split_has_to_be_there_and_another_one() -> None:
    assert "are not there" in refused("sample:tickets", holdout={"split": "test"}).text
    assert "train" in refused("sample:tickets", holdout={"split": "train"}).text, (
        "tested on what was learned, everything looks good"
    )


def test_reading_while_training_needs_an_end(tmp_path: Path) -> None:
    source = write_rows(tmp_path / "a.jsonl", texts(3))
    assert refused(source, "pretrain", knobs={"streaming": True}).advice == "Set a number of steps."
    assert preflight.check_spec(spec(source, "pretrain", knobs={"streaming": True, "steps": 5}))


def test_attempts_have_to_fit_the_batch(tmp_path: Path) -> None:
    """TRL would say so only once the run has loaded everything."""
    source = write_rows(tmp_path / "a.jsonl", sums(3))
    problem = refused(source, "grpo", rewards=[{"name": "number"}], knobs={"batch_size": 6, "attempts": 4})
    assert "6" in problem.text
    assert "4" in problem.text


def test_a_result_to_go_on_from_has_to_be_there() -> None:
    assert (
        "no result to go on from" in refused("sample:tickets", model={"start_from": "run:20261122-000000-x-aaaa"}).text
    )


@pytest.mark.parametrize("start", ["run:../../..", "run:", "run:.", "run:a/b"])
def test_a_run_to_go_on_from_is_a_name_and_not_a_path(start: str, home: Path) -> None:
    for folder in (
        home / "runs" / "adapter",
        home / "adapter",
        home.parent.parent / "adapter",
        home / "runs" / "a" / "b" / "adapter",
    ):
        folder.mkdir(parents=True, exist_ok=True)
    refused("sample:tickets", model={"start_from": start})


def test_a_model_without_weights_is_refused(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "llama"}))
    assert str(tmp_path) in refused("sample:tickets", model={"id": str(tmp_path)}).text


def test_nothing_is_made_by_looking(tmp_path: Path, home: Path) -> None:
    refused(f"path:{tmp_path}/b.jsonl")
    assert list((home / "runs").iterdir()) == []


def test_a_reward_that_looks_for_words_has_some(tmp_path: Path) -> None:
    source = write_rows(tmp_path / "a.jsonl", sums(3))
    problem = refused(source, "grpo", rewards=[{"name": "contains", "as": "polite"}])
    assert problem.text == "The reward “polite” has no words to look for."
    for params in ({"words": ["please"]}, {"column": "answer"}):
        assert preflight.check_spec(spec(source, "grpo", rewards=[{"name": "contains", "params": params}]))


@pytest.mark.parametrize("change", [{"data": [{"source": "path:HERE/rows.jsonl"}]}, {"model": {"id": "HERE/model"}}])
def test_a_space_takes_nothing_from_its_own_disk(
    change: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_rows(tmp_path / "rows.jsonl", pairs(8))
    shutil.copytree(paths.ROOT / "presets" / "pocket", tmp_path / "model")
    named = json.loads(json.dumps(change).replace("HERE", str(tmp_path)))
    spec = parse_spec(presets.unresolved_preset_spec("first_tune").to_dict() | {"holdout": {}} | named)
    preflight.check_spec(spec)
    monkeypatch.setenv("SYSTEM", "spaces")
    with pytest.raises(Problem, match="a file of the machine this Space runs on"):
        preflight.check_spec(spec)
