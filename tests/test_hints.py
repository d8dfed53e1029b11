"""Hints: the model is told what it would have said with the hint, never the hint itself, and the one who reads it is the model as it was."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from app.core.problems import Problem
from tests.test_distillation import job_of, problem

pytestmark = pytest.mark.slow

HINTS = {"source": "sample:hints"}
SMALL = {"steps": 1, "batch_size": 4, "max_completion_length": 4}


def built(folder: Path, adapter: str = "lora", **knobs: Any) -> tuple[Any, Any]:
    job = job_of("sdft", HINTS, folder, adapter={"kind": adapter}, knobs=SMALL | knobs, holdout={"split": "holdout"})
    return job, job.method.build(job)


def test_only_the_teacher_reads_the_hint(tmp_path: Path) -> None:
    job, trainer = built(tmp_path, hint_form="({privileged_context}) {prompt}")
    row = job.data.train[0]
    batch = trainer._prepare_training_batch([row])
    student, teacher = (trainer._tokenizer.decode(batch[name][0]) for name in ("prompt_ids", "teacher_input_ids"))
    assert row["privileged_context"] not in student
    assert f"({row['privileged_context']}) {row['prompt'][0]['content']}<|im_end|>" in teacher
    assert trainer.logged_samples[0]["prompt"] == row["prompt"][0]["content"]


@pytest.mark.parametrize("adapter", ["lora", "none"])
def test_the_teacher_stays_as_it_was(tmp_path: Path, adapter: str) -> None:
    """Beside an adapter that is the model without it; of all weights a copy from before."""
    import torch

    _, trainer = built(tmp_path, adapter, learning_rate=0.01)

    def teachers() -> Any:
        with torch.no_grad(), trainer._get_teacher_context_for_self_distillation():
            return trainer.teacher_model(torch.tensor([[1, 5, 9]])).logits

    before = teachers()
    trainer.train()
    trainer.model.eval()
    assert torch.allclose(teachers(), before, atol=1e-6)
    with torch.no_grad():
        assert not torch.allclose(trainer.model(torch.tensor([[1, 5, 9]])).logits, before, atol=1e-4)


def test_agreement_is_measured_on_what_it_says_with_the_hint(tmp_path: Path) -> None:
    """With the hint the practice model answers with the bare number; each answer has an end."""
    from app.engine.generation.generate import preserve_rng_eval

    job, trainer = built(tmp_path, max_completion_length=12, eval_answers=24)
    with preserve_rng_eval(trainer.model):
        found = job.method.measure(job, trainer)["agreement"]
    said = [job.tokenizer.decode(answer, skip_special_tokens=True) for _, answer in trainer.teacher_answers]
    rows = job.data.holdout[:24]
    assert sum(text == row["answer"] for text, row in zip(said, rows, strict=True)) > 12
    asked = [job.tokenizer.decode(question) for question, _ in trainer.teacher_answers]
    assert not any(row["privileged_context"] in text for text, row in zip(asked, rows, strict=True))
    assert 0.5 < found < 0.9


@pytest.mark.parametrize("form", ["{prompt}", "{prompt} {privileged_context} {prompt}", "{prompt} {privileged_context} {x}",
                                  "{prompt.__class__} {privileged_context}"])  # fmt: skip
def test_a_form_that_holds_not_both_or_more_is_refused(tmp_path: Path, form: str) -> None:
    with pytest.raises(Problem, match=r"it should hold|no other braces"):
        built(tmp_path, hint_form=form)


def test_attempts_must_divide_the_batch(tmp_path: Path) -> None:
    assert "groups of 3 attempts" in problem(lambda: built(tmp_path, attempts=3)).text


def test_going_on_from_an_adapter_the_teacher_cannot_be_the_start(tmp_path: Path, home: Path) -> None:
    """TRL would take both adapters off."""
    import shutil

    from app.runs import adapters

    shutil.copytree(adapters.locate_model_or_adapter("pocket-teacher"), home / "runs" / "20261122-a" / "adapter")
    more = {"model": {"start_from": "run:20261122-a"}, "adapter": {"r": 32, "alpha": 32}}
    job = job_of("sdft", HINTS, tmp_path, knobs=SMALL, **more)
    refusal = problem(lambda: job.method.build(job))
    assert "would be the model without it" in refusal.text
    now = job_of("sdft", HINTS, tmp_path, knobs=SMALL | {"teacher_is": "now"}, **more)
    assert now.method.build(now).teacher_model is not None


@pytest.mark.parametrize(("method", "data"), [("distill", {"source": "sample:sums"}), ("sdft", HINTS)])
def test_answers_written_on_the_way_are_told(method: str, data: dict[str, Any], tmp_path: Path) -> None:
    from app.engine.emitter import Emitter

    job = job_of(method, data, tmp_path, knobs=SMALL)
    job.emitter = Emitter(tmp_path)
    job.method.build(job).train()
    [told] = [json.loads(line) for line in (tmp_path / "events.jsonl").read_text().splitlines()]
    assert (told["kind"], told["step"], len(told["rows"])) == ("sample", 1, 4)
    assert all(set(row) == {"prompt", "completion"} for row in told["rows"])
