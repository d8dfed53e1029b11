"""Distillation across tokenizers: the teacher gets prompts in its own chat template; a teacher that cannot be used is refused before training."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from app.core.problems import Problem
from app.engine.trainers.distillation import cross_tokenizer
from presets import make_kin
from tests.support import conversation_rows, write_rows
from tests.test_distillation import build_job, raised_problem

pytestmark = pytest.mark.slow

STUDENT_PROMPT = "<|im_start|>user\nWhat is 0 + 0?<|im_end|>\n<|im_start|>assistant\nit is 0.<|im_end|>\n<|im_start|>user\nAre you sure?<|im_end|>\n<|im_start|>assistant\n"  # fmt: skip


@pytest.fixture(scope="module")
def other_tokenizer_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny untrained model whose tokenizer and chat template differ from those of the practice model."""
    return make_kin.make("tokenizer", tmp_path_factory.mktemp("kin"))


def build_gold_trainer(teacher: Path, folder: Path, **knobs: Any) -> Any:
    source = write_rows(folder / "a.jsonl", conversation_rows(8))
    base_knobs = {"teacher": str(teacher), "steps": 1, "batch_size": 4, "max_completion_length": 4}
    job = build_job("gold", {"source": source}, folder, knobs=base_knobs | knobs)
    return job.method.build(job)


def test_teacher_prompts_use_the_chat_template_of_the_teacher(other_tokenizer_model: Path, tmp_path: Path) -> None:
    """The chat template of the teacher writes the BOS token, and its tokenizer adds no second one."""
    trainer = build_gold_trainer(other_tokenizer_model, tmp_path)
    assert (
        trainer.teacher_prompts[STUDENT_PROMPT]
        == "<s><|user|>What is 0 + 0?</s><|assistant|>it is 0.</s><|user|>Are you sure?</s><|assistant|>"
    )
    row = trainer.train_dataset[0]
    assert row["original_completion_text"] == "Yes, I counted on my fingers.<|im_end|>", (
        "the line break after the end token must be left out"
    )
    assert row["input_ids"][-1] == trainer._tokenizer.eos_token_id
    assert cross_tokenizer.strip_end_token(trainer, row["original_completion_text"]) == "Yes, I counted on my fingers."


@pytest.mark.full
@pytest.mark.parametrize("own_share", [0.0, 1.0])
def test_dataset_answers_and_generated_answers_both_train(
    other_tokenizer_model: Path, tmp_path: Path, own_share: float
) -> None:
    """Every prompt must have its teacher prompt, whether the dataset or the student wrote the answer, and all weights stay finite."""
    import torch

    trainer = build_gold_trainer(other_tokenizer_model, tmp_path, own_share=own_share, examples_weight=0.0)
    initial_weights = [weight.detach().clone() for weight in trainer.model.parameters() if weight.requires_grad]
    trainer.train()
    [log_entry] = [log_entry for log_entry in trainer.state.log_history if "loss" in log_entry]
    assert ("on_policy_loss" in log_entry) == bool(own_share)
    trained_weights = [weight for weight in trainer.model.parameters() if weight.requires_grad]
    assert any(
        not torch.equal(initial, trained) for initial, trained in zip(initial_weights, trained_weights, strict=True)
    )
    assert all(torch.isfinite(weight).all() for weight in trained_weights)


def test_the_bos_token_is_not_doubled(other_tokenizer_model: Path) -> None:
    """The BOS token is stripped from the text only when the tokenizer adds it itself."""
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(other_tokenizer_model)
    assert cross_tokenizer.strip_bos_token(tokenizer, "<s>Hi") == "<s>Hi"
    from tokenizers.processors import TemplateProcessing

    tokenizer.backend_tokenizer.post_processor = TemplateProcessing(
        "<s> $A", special_tokens=[("<s>", tokenizer.bos_token_id)]
    )
    assert cross_tokenizer.strip_bos_token(tokenizer, "<s>Hi") == "Hi"


def test_a_teacher_without_a_chat_template_is_refused(other_tokenizer_model: Path, tmp_path: Path) -> None:
    model_without_template = tmp_path / "bare"
    shutil.copytree(other_tokenizer_model, model_without_template, ignore=shutil.ignore_patterns("*.jinja"))
    assert (
        "has no chat format of its own"
        in raised_problem(lambda: build_gold_trainer(model_without_template, tmp_path)).text
    )
    assert build_gold_trainer(model_without_template, tmp_path, teacher_reads="same").train_dataset


@pytest.mark.full
def test_a_teacher_without_a_byte_level_tokenizer_is_refused(other_tokenizer_model: Path, tmp_path: Path) -> None:
    whitespace_model = tmp_path / "other"
    shutil.copytree(other_tokenizer_model, whitespace_model)
    tokenizer_json = json.loads((whitespace_model / "tokenizer.json").read_text())
    tokenizer_json["pre_tokenizer"], tokenizer_json["decoder"] = {"type": "Whitespace"}, None
    (whitespace_model / "tokenizer.json").write_text(json.dumps(tokenizer_json))
    assert "cannot be aligned" in raised_problem(lambda: build_gold_trainer(whitespace_model, tmp_path)).text


def test_imitating_generated_answers_is_refused(other_tokenizer_model: Path, tmp_path: Path) -> None:
    with pytest.raises(Problem, match="imitate the answers it writes itself"):
        build_gold_trainer(other_tokenizer_model, tmp_path, own_share=0.5)


@pytest.mark.full
def test_a_completion_length_that_leaves_no_room_for_the_prompt_is_refused(
    other_tokenizer_model: Path, tmp_path: Path
) -> None:
    with pytest.raises(Problem, match="leaves no room for a question"):
        build_gold_trainer(other_tokenizer_model, tmp_path, max_length=64, max_completion_length=64)
