"""Compatible methods: the columns of a table determine which methods can train on it, which one is the default, and which columns the others need."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from app.core import registry
from app.data import rows
from app.data.findings import compatible_methods
from app.engine.contracts import load_method
from tests.support import run_command_line, write_rows


@pytest.mark.parametrize("method", registry.names("methods"))
def test_every_method_has_a_family_and_known_row_types(method: str) -> None:
    loaded_method = load_method(method)
    assert loaded_method.family in compatible_methods.METHOD_FAMILIES
    assert {*loaded_method.row_types} <= {*compatible_methods.DEFAULT_METHODS}
    assert any(method == default_method for *_, default_method in compatible_methods.METHOD_FAMILIES.values()) == (
        compatible_methods.rank_in_family(method) % 2 == 0
    )


def test_every_row_type_has_a_default_method_and_every_column_a_spec() -> None:
    assert {*compatible_methods.DEFAULT_METHODS} == {*rows.REQUIRED_COLUMNS} - {"conversations"}
    assert {
        column for row_type in compatible_methods.DEFAULT_METHODS for column in rows.REQUIRED_COLUMNS[row_type]
    } <= {*compatible_methods.COLUMN_SPECS}
    for row_type, (default_method, reason) in compatible_methods.DEFAULT_METHODS.items():
        assert row_type in load_method(default_method).row_types
        assert reason.endswith(".")


@pytest.mark.parametrize(("sample", "best_method"), [
    ("tickets", "sft"), ("reviews", "sft"), ("diary", "pretrain"), ("manners", "dpo"), ("kindness", "sft"), ("thumbs", "kto"), ("sums", "grpo"), ("steps", "process_reward"),
])  # fmt: skip
def test_each_sample_suggests_its_intended_method(sample: str, best_method: str) -> None:
    compatible = compatible_methods.compatible_methods_of_name(f"sample:{sample}")
    assert compatible["best"] == best_method
    assert compatible["methods"][best_method] == ""
    assert compatible["why"]


@pytest.mark.parametrize(("row", "row_type", "mapping"), [
    ({"Question": "a?", "Answer": "b"}, "prompt_completion", {"prompt": "Question", "completion": "Answer"}),
    ({"text": "It broke.", "label": "repairs"}, "prompt_completion", {"prompt": "text", "completion": "label"}),
    ({"question": "a?", "answer": "b", "label": "no"}, "thumbs", {"prompt": "question", "completion": "answer"}),
    ({"input": "a?", "better": "b", "worse": "c"}, "preference", {"chosen": "better", "rejected": "worse", "prompt": "input"}),
    ({"question": "a?", "better": "b", "worse": "c", "best": "d"}, "ranked", {"chosen": "better", "rejected": "worse", "reference": "best", "prompt": "question"}),
    ({"conversations": [{"from": "human", "value": "a"}, {"from": "gpt", "value": "b"}]}, "messages", {"messages": "conversations"}),
    ({"problem": "a", "steps": ["b"], "marks": [True]}, "stepwise", {"prompt": "problem", "completions": "steps", "labels": "marks"}),
])  # fmt: skip
def test_columns_with_other_names_are_mapped_automatically(
    row: dict[str, Any], row_type: str, mapping: dict[str, str]
) -> None:
    assert next(iter(compatible_methods.find_compatible_methods([row])["shapes"].items())) == (row_type, mapping)


def test_missing_columns_are_described_in_words() -> None:
    missing_columns = compatible_methods.find_compatible_methods([{"question": "a?", "answer": "b"}])["methods"]
    assert missing_columns["sft"] == missing_columns["grpo"] == ""
    assert missing_columns["dpo"] == "needs columns of better answers and worse answers"
    assert missing_columns["kto"] == "needs a column of thumbs up or down"
    assert missing_columns["tpo"] == "needs columns of better answers, worse answers and best answers"


def test_unusable_rows_give_the_reason() -> None:
    identical_answers = compatible_methods.find_compatible_methods([{"prompt": "a", "chosen": "b", "rejected": "b"}])
    assert identical_answers["methods"]["dpo"] == "cannot use these rows: both answers are the same"
    assert (
        compatible_methods.find_compatible_methods([{"frage": "a?"}])["methods"]["grpo"]
        == "needs a column of questions"
    )
    unknown_columns = compatible_methods.find_compatible_methods([{"frage": "a?", "antwort": "b"}])
    assert (unknown_columns["best"], unknown_columns["shapes"]) == (None, {})


@pytest.mark.slow
def test_the_command_line_lists_compatible_methods(tmp_path: Path) -> None:
    source = write_rows(tmp_path / "a.jsonl", [{"question": "a?", "better": "b", "worse": "c"}])
    output = run_command_line("methods", "--data", source).stdout
    assert output.startswith("Most would begin with dpo")
    assert "kto" in output.partition("lacking")[0]
    methods = json.loads(run_command_line("methods", "--data", source, "--json").stdout)
    assert {method["name"]: method["lacks"] for method in methods}["sft"] == "needs a column of answers"
