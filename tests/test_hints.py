"""Self-distillation from hints (SDFT): only the teacher reads the hint, and the teacher is the model before training."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from app.core.problems import Problem
from tests.test_distillation import build_job, raised_problem

pytestmark = pytest.mark.slow

HINTS_SOURCE = {"source": "sample:hints"}
SMALL_KNOBS = {"steps": 1, "batch_size": 4, "max_completion_length": 4}


def build_trainer(folder: Path, adapter: str = "lora", **knobs: Any) -> tuple[Any, Any]:
    job = build_job(
        "sdft", HINTS_SOURCE, folder, adapter={"kind": adapter}, knobs=SMALL_KNOBS | knobs, holdout={"split": "holdout"}
    )
    return job, job.method.build(job)


def test_only_the_teacher_reads_the_hint(tmp_path: Path) -> None:
    job, trainer = build_trainer(tmp_path, hint_form="({privileged_context}) {prompt}")
    row = job.data.train[0]
    batch = trainer._prepare_training_batch([row])
    student, teacher = (trainer._tokenizer.decode(batch[name][0]) for name in ("prompt_ids", "teacher_input_ids"))
    assert row["privileged_context"] not in student
    assert f"({row['privileged_context']}) {row['prompt'][0]['content']}<|im_end|>" in teacher
    assert trainer.logged_samples[0]["prompt"] == row["prompt"][0]["content"]


@pytest.mark.full
@pytest.mark.parametrize("adapter", ["lora", "none"])
def test_the_teacher_does_not_change_during_training(tmp_path: Path, adapter: str) -> None:
    """With an adapter the teacher is the model without it; with full fine-tuning it is a copy of the initial weights."""
    import torch

    _, trainer = build_trainer(tmp_path, adapter, learning_rate=0.01)

    def teacher_logits() -> Any:
        with torch.no_grad(), trainer._get_teacher_context_for_self_distillation():
            return trainer.teacher_model(torch.tensor([[1, 5, 9]])).logits

    logits_before = teacher_logits()
    trainer.train()
    trainer.model.eval()
    assert torch.allclose(teacher_logits(), logits_before, atol=1e-6)
    with torch.no_grad():
        assert not torch.allclose(trainer.model(torch.tensor([[1, 5, 9]])).logits, logits_before, atol=1e-4)


@pytest.mark.full
def test_agreement_is_measured_on_completions_written_with_the_hint(tmp_path: Path) -> None:
    """With the hint the practice model answers with the bare number, and each completion ends with the end token."""
    from app.engine.generation.generate import preserve_rng_eval

    job, trainer = build_trainer(tmp_path, max_completion_length=12, eval_answers=24)
    with preserve_rng_eval(trainer.model):
        agreement = job.method.measure(job, trainer)["agreement"]
    completions = [
        job.tokenizer.decode(completion_ids, skip_special_tokens=True)
        for _, completion_ids in trainer.teacher_answers["holdout"]
    ]
    rows = job.data.holdout[:24]
    assert sum(text == row["answer"] for text, row in zip(completions, rows, strict=True)) > 12
    prompts = [job.tokenizer.decode(prompt_ids) for prompt_ids, _ in trainer.teacher_answers["holdout"]]
    assert not any(row["privileged_context"] in text for text, row in zip(prompts, rows, strict=True))
    assert 0.5 < agreement < 0.9


@pytest.mark.parametrize("hint_form", ["{prompt}", "{prompt} {privileged_context} {prompt}", "{prompt} {privileged_context} {x}",
                                  "{prompt.__class__} {privileged_context}"])  # fmt: skip
def test_a_hint_form_with_missing_or_extra_placeholders_is_refused(tmp_path: Path, hint_form: str) -> None:
    with pytest.raises(Problem, match=r"it should hold|no other braces"):
        build_trainer(tmp_path, hint_form=hint_form)


def test_a_batch_size_that_is_no_multiple_of_attempts_is_refused(tmp_path: Path) -> None:
    assert "groups of 3 attempts" in raised_problem(lambda: build_trainer(tmp_path, attempts=3)).text


def test_a_teacher_of_initial_weights_is_refused_when_an_adapter_is_continued(tmp_path: Path, home: Path) -> None:
    """TRL would disable both adapters for the teacher."""
    import shutil

    from app.runs import adapters

    shutil.copytree(adapters.locate_model_or_adapter("pocket-teacher"), home / "runs" / "20261122-a" / "adapter")
    overrides = {"model": {"start_from": "run:20261122-a"}, "adapter": {"r": 32, "alpha": 32}}
    job = build_job("sdft", HINTS_SOURCE, tmp_path, knobs=SMALL_KNOBS, **overrides)
    refusal = raised_problem(lambda: job.method.build(job))
    assert "would be the model without it" in refusal.text
    current_teacher_job = build_job(
        "sdft", HINTS_SOURCE, tmp_path, knobs=SMALL_KNOBS | {"teacher_is": "now"}, **overrides
    )
    assert current_teacher_job.method.build(current_teacher_job).teacher_model is not None


@pytest.mark.full
@pytest.mark.parametrize(("method", "source"), [("distill", {"source": "sample:sums"}), ("sdft", HINTS_SOURCE)])
def test_completions_sampled_during_training_are_logged(method: str, source: dict[str, Any], tmp_path: Path) -> None:
    from app.engine.emitter import Emitter

    job = build_job(method, source, tmp_path, knobs=SMALL_KNOBS)
    job.emitter = Emitter(tmp_path)
    job.method.build(job).train()
    [sample_event] = [json.loads(line) for line in (tmp_path / "events.jsonl").read_text().splitlines()]
    assert (sample_event["kind"], sample_event["step"], len(sample_event["rows"])) == ("sample", 1, 4)
    assert all(set(row) == {"prompt", "completion"} for row in sample_event["rows"])
