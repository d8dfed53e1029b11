"""Translating: a teacher with other tokens is asked in its own chat format, and where it cannot be, that is said before training."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from app.core.problems import Problem
from app.engine.trainers.distillation import cross_tokenizer
from presets import make_kin
from tests.support import chats, write_rows
from tests.test_distillation import job_of, problem

pytestmark = pytest.mark.slow

QUESTION = "<|im_start|>user\nWhat is 0 + 0?<|im_end|>\n<|im_start|>assistant\nit is 0.<|im_end|>\n<|im_start|>user\nAre you sure?<|im_end|>\n<|im_start|>assistant\n"  # fmt: skip


@pytest.fixture(scope="module")
def second(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny untrained model with a tokenizer and a chat format of its own."""
    return make_kin.make("tokenizer", tmp_path_factory.mktemp("kin"))


def gold_of(teacher: Path, folder: Path, **knobs: Any) -> Any:
    source = write_rows(folder / "a.jsonl", chats(8))
    setup = {"teacher": str(teacher), "steps": 1, "batch_size": 4, "max_completion_length": 4}
    job = job_of("gold", {"source": source}, folder, knobs=setup | knobs)
    return job.method.build(job)


def test_the_teacher_is_asked_in_its_own_format(second: Path, tmp_path: Path) -> None:
    """Its tokenizer writes the token that begins a text by the format, and adds none by itself."""
    trainer = gold_of(second, tmp_path)
    assert (
        trainer.teacher_prompts[QUESTION]
        == "<s><|user|>What is 0 + 0?</s><|assistant|>it is 0.</s><|user|>Are you sure?</s><|assistant|>"
    )
    row = trainer.train_dataset[0]
    assert row["original_completion_text"] == "Yes, I counted on my fingers.<|im_end|>", (
        "without the line break after its end"
    )
    assert row["input_ids"][-1] == trainer._tokenizer.eos_token_id
    assert cross_tokenizer.strip_end_token(trainer, row["original_completion_text"]) == "Yes, I counted on my fingers."


@pytest.mark.parametrize("share", [0.0, 1.0])
def test_given_and_own_answers_both_reach_the_teacher(second: Path, tmp_path: Path, share: float) -> None:
    """Every question must be found again in the teacher's words, whoever wrote the answer, and the corrections be finite."""
    import torch

    trainer = gold_of(second, tmp_path, own_share=share, examples_weight=0.0)
    kept = [weight.detach().clone() for weight in trainer.model.parameters() if weight.requires_grad]
    trainer.train()
    [line] = [line for line in trainer.state.log_history if "loss" in line]
    assert ("on_policy_loss" in line) == bool(share)
    after = [weight for weight in trainer.model.parameters() if weight.requires_grad]
    assert any(not torch.equal(one, other) for one, other in zip(kept, after, strict=True))
    assert all(torch.isfinite(weight).all() for weight in after)


def test_the_token_that_begins_a_text_is_not_doubled(second: Path) -> None:
    """A tokenizer that adds it by itself is asked without it."""
    from transformers import AutoTokenizer

    words = AutoTokenizer.from_pretrained(second)
    assert cross_tokenizer.strip_bos_token(words, "<s>Hi") == "<s>Hi"
    from tokenizers.processors import TemplateProcessing

    words.backend_tokenizer.post_processor = TemplateProcessing("<s> $A", special_tokens=[("<s>", words.bos_token_id)])
    assert cross_tokenizer.strip_bos_token(words, "<s>Hi") == "Hi"


def test_a_teacher_without_a_chat_format_is_refused(second: Path, tmp_path: Path) -> None:
    bare = tmp_path / "bare"
    shutil.copytree(second, bare, ignore=shutil.ignore_patterns("*.jinja"))
    assert "has no chat format of its own" in problem(lambda: gold_of(bare, tmp_path)).text
    assert gold_of(bare, tmp_path, teacher_reads="same").train_dataset


def test_a_teacher_that_is_not_made_of_bytes_is_refused(second: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    shutil.copytree(second, other)
    whole = json.loads((other / "tokenizer.json").read_text())
    whole["pre_tokenizer"], whole["decoder"] = {"type": "Whitespace"}, None
    (other / "tokenizer.json").write_text(json.dumps(whole))
    assert "cannot be aligned" in problem(lambda: gold_of(other, tmp_path)).text


def test_it_never_imitates_its_own_answers(second: Path, tmp_path: Path) -> None:
    with pytest.raises(Problem, match="imitate the answers it writes itself"):
        gold_of(second, tmp_path, own_share=0.5)


def test_an_answer_leaves_room_for_its_question(second: Path, tmp_path: Path) -> None:
    with pytest.raises(Problem, match="leaves no room for a question"):
        gold_of(second, tmp_path, max_length=64, max_completion_length=64)
