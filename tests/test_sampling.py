"""Sampling: what the template is told, what ends an answer, and that tests and previews ask as training does."""

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
from tests.support import spec_of, sums, write_rows

LOUD = "{% for m in messages %}{{ m['role'] + ': ' + m['content'] + ('!' * shouts if shouts else '') + '<|im_end|>' }}{% endfor %}"
KNOBS = {"batch_size": 4, "attempts": 2, "max_completion_length": 4}


def job_of(folder: Path, method: str = "grpo", knobs: dict[str, Any] | None = None, **more: Any) -> Job:
    own = {name: value for name, value in KNOBS.items() if method != "online_dpo" or name != "attempts"}
    spec = spec_of(method, write_rows(folder / "sums.jsonl", sums(8)), own | (knobs or {}), rewards=[{"name": "exact_match"}], **more)  # fmt: skip
    return Job(spec, folder, Device("cpu"))


@pytest.mark.parametrize(("line", "value"), [
    ("a=true", True), ("a = False", False), ("a=3", 3), ("a=0.5", 0.5), ("a=medium", "medium"), ('a="true"', "true"), ("a=", ""), ("a=b=c", "b=c"),
    ('a=["x"]', ["x"]), ("a=null", None),
])  # fmt: skip
def test_a_line_is_a_name_and_a_value(line: str, value: Any) -> None:
    assert parse_template_arguments([line]) == {"a": value}


@pytest.mark.parametrize("line", ["enable_thinking", "=3", "two words=1", "1st=2", ""])
def test_a_line_without_a_name_or_a_sign_is_refused(line: str, tmp_path: Path) -> None:
    with pytest.raises(Problem, match=f"“{line}” should be a name and a value, such as enable_thinking=false"):
        job_of(tmp_path, knobs={"template_arguments": [line]})


@pytest.mark.parametrize("method", ["grpo", "rloo", "online_dpo", "ppo"])
def test_preview_test_and_training_tell_the_template_the_same(method: str, tmp_path: Path) -> None:
    knobs = {"template_arguments": ["shouts=3"]}
    job = job_of(tmp_path, method, knobs, model={"template": LOUD})
    seen = preview_rows(job.spec, 1)["rows"][0]
    assert "".join(token["text"] for token in seen["tokens"]) == "user: What is 0 + 0?!!!<|im_end|>"
    trainer = job.method.build(job)
    found = trainer._tokenize_prompts([job.data.train[0]["prompt"]])
    [ids] = found[0] if isinstance(found, tuple) else found
    assert job.tokenizer.decode(ids) == "user: What is 0 + 0?!!!<|im_end|>"
    assert render_prompt(job.tokenizer, "Hello", chat=True) == "user: Hello!!!<|im_end|>"


@pytest.mark.parametrize("method", ["grpo", "rloo", "online_dpo"])
def test_what_rewards_see_stands_beside_the_prompt(method: str, tmp_path: Path) -> None:
    rows = [{"prompt": "Say hi.", "answer": "hi", "level": 3, "hints": ["short"], "note": None}] * 4
    knobs = {"batch_size": 4} if method == "online_dpo" else KNOBS
    spec = spec_of(method, write_rows(tmp_path / "rows.jsonl", rows), knobs, rewards=[{"name": "exact_match"}])
    seen = preview_rows(spec, 2)["rows"]
    assert [row["beside"] for row in seen] == [{"answer": "hi", "level": "3", "hints": '["short"]'}] * 2
    assert "Say hi." in "".join(token["text"] for token in seen[0]["tokens"])


def test_an_end_token_of_ones_own_ends_answers_everywhere(tmp_path: Path) -> None:
    job = job_of(tmp_path, knobs={"stop": ["7"]})
    own, [seven] = job.model.generation_config.eos_token_id, job.tokenizer.encode("7", add_special_tokens=False)
    trainer = job.method.build(job)
    assert {*trainer.eos_token_ids} == {own, seven}
    assert {*trainer.model.generation_config.eos_token_id} == {own, seven}
    add_stop_tokens(trainer.model, job.tokenizer, ["7"])
    assert len(trainer.model.generation_config.eos_token_id) == 2, "asking again adds nothing"


def test_what_is_no_single_token_cannot_end_an_answer(tmp_path: Path) -> None:
    job = job_of(tmp_path, knobs={"stop": ["good night"]})
    with pytest.raises(Problem, match=r"“good night” is [0-9]+ tokens to this model, and only a single token can end an answer"):  # fmt: skip
        job.method.build(job)
