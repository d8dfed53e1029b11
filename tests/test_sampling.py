"""Sampling: template arguments and stop tokens, which are the same in previews, evaluations and training."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from app.core.problems import Problem
from app.engine.generation.generate import render_prompt
from app.engine.generation.sampling import add_stop_tokens, parse_template_arguments
from app.engine.job import Job
from app.engine.model.device import Device
from app.engine.preview.row_preview import preview_rows
from tests.support import addition_rows, build_spec, write_rows

TEMPLATE_WITH_ARGUMENT = "{% for m in messages %}{{ m['role'] + ': ' + m['content'] + ('!' * shouts if shouts else '') + '<|im_end|>' }}{% endfor %}"
KNOBS = {"batch_size": 4, "attempts": 2, "max_completion_length": 4}


def build_job(folder: Path, method: str = "grpo", knobs: dict[str, Any] | None = None, **spec_fields: Any) -> Job:
    method_knobs = {name: value for name, value in KNOBS.items() if method != "online_dpo" or name != "attempts"}
    spec = build_spec(method, write_rows(folder / "sums.jsonl", addition_rows(8)), method_knobs | (knobs or {}), rewards=[{"name": "exact_match"}], **spec_fields)  # fmt: skip
    return Job(spec, folder, Device("cpu"))


@pytest.mark.parametrize(("argument", "expected_value"), [
    ("a=true", True), ("a = False", False), ("a=3", 3), ("a=0.5", 0.5), ("a=medium", "medium"), ('a="true"', "true"), ("a=", ""), ("a=b=c", "b=c"),
    ('a=["x"]', ["x"]), ("a=null", None),
])  # fmt: skip
def test_a_template_argument_is_parsed_as_name_and_json_or_text_value(argument: str, expected_value: Any) -> None:
    assert parse_template_arguments([argument]) == {"a": expected_value}


@pytest.mark.parametrize("argument", ["enable_thinking", "=3", "two words=1", "1st=2", ""])
def test_a_template_argument_without_a_valid_name_or_equals_sign_is_refused(argument: str, tmp_path: Path) -> None:
    with pytest.raises(Problem, match=f"“{argument}” should be a name and a value, such as enable_thinking=false"):
        build_job(tmp_path, knobs={"template_arguments": [argument]})


@pytest.mark.parametrize("method", ["grpo", "rloo", "online_dpo", "ppo"])
def test_preview_evaluation_and_training_use_the_same_template_arguments(method: str, tmp_path: Path) -> None:
    knobs = {"template_arguments": ["shouts=3"]}
    job = build_job(tmp_path, method, knobs, model={"template": TEMPLATE_WITH_ARGUMENT})
    preview_row = preview_rows(job.spec, 1)["rows"][0]
    assert "".join(token["text"] for token in preview_row["tokens"]) == "user: What is 0 + 0?!!!<|im_end|>"
    trainer = job.method.build(job)
    tokenized = trainer._tokenize_prompts([job.data.train[0]["prompt"]])
    [prompt_ids] = tokenized[0] if isinstance(tokenized, tuple) else tokenized
    assert job.tokenizer.decode(prompt_ids) == "user: What is 0 + 0?!!!<|im_end|>"
    assert render_prompt(job.tokenizer, "Hello", chat=True) == "user: Hello!!!<|im_end|>"


@pytest.mark.parametrize("method", ["grpo", "rloo", "online_dpo"])
def test_the_preview_shows_the_columns_for_rewards_next_to_the_prompt(method: str, tmp_path: Path) -> None:
    rows = [{"prompt": "Say hi.", "answer": "hi", "level": 3, "hints": ["short"], "note": None}] * 4
    knobs = {"batch_size": 4} if method == "online_dpo" else KNOBS
    spec = build_spec(method, write_rows(tmp_path / "rows.jsonl", rows), knobs, rewards=[{"name": "exact_match"}])
    displayed_rows = preview_rows(spec, 2)["rows"]
    assert [row["beside"] for row in displayed_rows] == [{"answer": "hi", "level": "3", "hints": '["short"]'}] * 2
    assert "Say hi." in "".join(token["text"] for token in displayed_rows[0]["tokens"])


def test_a_configured_stop_token_ends_completions_in_training_and_evaluation(tmp_path: Path) -> None:
    job = build_job(tmp_path, knobs={"stop": ["7"]})
    eos_token_id, [stop_token_id] = (
        job.model.generation_config.eos_token_id,
        job.tokenizer.encode("7", add_special_tokens=False),
    )
    trainer = job.method.build(job)
    assert {*trainer.eos_token_ids} == {eos_token_id, stop_token_id}
    assert {*trainer.model.generation_config.eos_token_id} == {eos_token_id, stop_token_id}
    add_stop_tokens(trainer.model, job.tokenizer, ["7"])
    assert len(trainer.model.generation_config.eos_token_id) == 2, (
        "adding the same stop token again must change nothing"
    )


def test_a_stop_text_of_several_tokens_is_refused(tmp_path: Path) -> None:
    job = build_job(tmp_path, knobs={"stop": ["good night"]})
    with pytest.raises(Problem, match=r"“good night” is [0-9]+ tokens to this model, and only a single token can end an answer"):  # fmt: skip
        job.method.build(job)
