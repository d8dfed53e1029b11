"""Fitting: by its columns a table says what it can teach, what is usual, and what it lacks for the rest."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from app.core import registry
from app.data import compatible_methods, rows
from app.engine.contracts import load_method
from tests.support import cli, write_rows


@pytest.mark.parametrize("method", registry.names("methods"))
def test_every_method_belongs_to_what_somebody_wants_and_takes_rows_that_have_a_name(method: str) -> None:
    declared = load_method(method)
    assert declared.family in compatible_methods.METHOD_FAMILIES
    assert {*declared.row_types} <= {*compatible_methods.DEFAULT_METHODS}
    assert any(method == usual for *_, usual in compatible_methods.METHOD_FAMILIES.values()) == (
        compatible_methods.rank_in_family(method) % 2 == 0
    )


def test_every_kind_of_row_and_column_has_words() -> None:
    assert {*compatible_methods.DEFAULT_METHODS} == {*rows.REQUIRED_COLUMNS} - {"conversations"}
    assert {column for shape in compatible_methods.DEFAULT_METHODS for column in rows.REQUIRED_COLUMNS[shape]} <= {
        *compatible_methods.COLUMN_SPECS
    }
    for shape, (usual, why) in compatible_methods.DEFAULT_METHODS.items():
        assert shape in load_method(usual).row_types
        assert why.endswith(".")


@pytest.mark.parametrize(("sample", "best"), [
    ("tickets", "sft"), ("reviews", "sft"), ("diary", "pretrain"), ("manners", "dpo"), ("thumbs", "kto"), ("sums", "grpo"), ("steps", "process_reward"),
])  # fmt: skip
def test_each_sample_leads_to_its_lesson(sample: str, best: str) -> None:
    found = compatible_methods.compatible_methods_of_name(f"sample:{sample}")
    assert found["best"] == best
    assert found["methods"][best] == ""
    assert found["why"]


@pytest.mark.parametrize(("row", "shape", "mapping"), [
    ({"Question": "a?", "Answer": "b"}, "prompt_completion", {"prompt": "Question", "completion": "Answer"}),
    ({"text": "It broke.", "label": "repairs"}, "prompt_completion", {"prompt": "text", "completion": "label"}),
    ({"question": "a?", "answer": "b", "label": "no"}, "thumbs", {"prompt": "question", "completion": "answer"}),
    ({"input": "a?", "better": "b", "worse": "c"}, "preference", {"chosen": "better", "rejected": "worse", "prompt": "input"}),
    ({"question": "a?", "better": "b", "worse": "c", "best": "d"}, "ranked", {"chosen": "better", "rejected": "worse", "reference": "best", "prompt": "question"}),
    ({"conversations": [{"from": "human", "value": "a"}, {"from": "gpt", "value": "b"}]}, "messages", {"messages": "conversations"}),
    ({"problem": "a", "steps": ["b"], "marks": [True]}, "stepwise", {"prompt": "problem", "completions": "steps", "labels": "marks"}),
])  # fmt: skip
def test_columns_of_other_names_are_guessed(row: dict[str, Any], shape: str, mapping: dict[str, str]) -> None:
    assert next(iter(compatible_methods.find_compatible_methods([row])["shapes"].items())) == (shape, mapping)


def test_what_is_missing_is_said_in_words() -> None:
    lacks = compatible_methods.find_compatible_methods([{"question": "a?", "answer": "b"}])["methods"]
    assert lacks["sft"] == lacks["grpo"] == ""
    assert lacks["dpo"] == "needs columns of better answers and worse answers"
    assert lacks["kto"] == "needs a column of thumbs up or down"
    assert lacks["tpo"] == "needs columns of better answers, worse answers and best answers"


def test_rows_that_cannot_be_used_say_why() -> None:
    alike = compatible_methods.find_compatible_methods([{"prompt": "a", "chosen": "b", "rejected": "b"}])
    assert alike["methods"]["dpo"] == "cannot use these rows: both answers are the same"
    assert (
        compatible_methods.find_compatible_methods([{"frage": "a?"}])["methods"]["grpo"]
        == "needs a column of questions"
    )
    nothing = compatible_methods.find_compatible_methods([{"frage": "a?", "antwort": "b"}])
    assert (nothing["best"], nothing["shapes"]) == (None, {})


@pytest.mark.slow
def test_the_command_line_says_it_too(tmp_path: Path) -> None:
    source = write_rows(tmp_path / "a.jsonl", [{"question": "a?", "better": "b", "worse": "c"}])
    said = cli("methods", "--data", source).stdout
    assert said.startswith("Most would begin with dpo")
    assert "kto" in said.partition("lacking")[0]
    found = json.loads(cli("methods", "--data", source, "--json").stdout)
    assert {one["name"]: one["lacks"] for one in found}["sft"] == "needs a column of answers"
