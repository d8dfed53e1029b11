"""The teacher adapter of the practice model: it matches its script, is accurate, and was trained on no held-out sum."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from app.core.problems import Problem
from app.data.reading import files
from app.runs import adapters
from app.setup import models
from presets import make_teacher
from presets.village import held_out
from tests.support import build_spec, generate_greedy

TEACHER_FOLDER = Path(adapters.locate_model_or_adapter("pocket-teacher"))


@pytest.fixture(scope="module")
def teacher() -> tuple[Any, Any]:
    from app.engine.model.load_model import load_tuned

    return load_tuned(TEACHER_FOLDER)


def test_the_shipped_teacher_matches_the_settings_of_its_script() -> None:
    build_record = json.loads((TEACHER_FOLDER / "made.json").read_text())
    assert build_record["settings"] == make_teacher.TEACHING
    assert build_record["lessons"] == make_teacher.LESSONS + 400
    adapter_config = json.loads((TEACHER_FOLDER / "adapter_config.json").read_text())
    assert (adapter_config["base_model_name_or_path"], adapter_config["r"]) == ("pocket", 32)
    assert sum(models.read_tensor_sizes(TEACHER_FOLDER / "adapter_model.safetensors")) == build_record["of_adapter"]
    assert sum(file.stat().st_size for file in TEACHER_FOLDER.iterdir()) < 1_400_000


def test_the_teacher_was_trained_on_no_held_out_sum() -> None:
    training_rows = list(make_teacher.sums())
    addends = [
        [int(token) for token in row["prompt"].replace("?", " ").replace(".", " ").split() if token.isdigit()]
        for row in training_rows
    ]
    assert all(a + b == int(row["answer"]) for (a, b), row in zip(addends, training_rows, strict=True))
    assert not any(held_out(a, b) for a, b in addends)


@pytest.mark.slow
def test_the_teacher_answers_held_out_sums_better_than_the_practice_model(teacher: tuple[Any, Any]) -> None:
    from app.engine.evaluation.completion_rewards import CompletionScorer, prompts_of_rows

    spec = build_spec("grpo", "sample:sums", {"steps": 1}, rewards=[{"name": "exact_match", "as": "correct"}])
    held_out_rows = list(files.read_file_rows(files.source_path(spec.data[0], "holdout")))
    model, tokenizer = teacher
    scorer, prompts = CompletionScorer(spec.rewards, tokenizer, "cpu"), prompts_of_rows(held_out_rows)
    prompt_texts = [prompt.prompt for prompt in prompts]
    teacher_metrics, _ = scorer.evaluate(prompts, generate_greedy(model, tokenizer, prompt_texts, 8))
    with model.disable_adapter():
        student_metrics, _ = scorer.evaluate(prompts, generate_greedy(model, tokenizer, prompt_texts, 8))
    recorded_accuracy = json.loads((TEACHER_FOLDER / "made.json").read_text())["correct"]
    assert (len(held_out_rows), teacher_metrics["correct"]) == (
        200,
        pytest.approx(recorded_accuracy["after"], abs=0.02),
    )
    assert student_metrics["correct"] == pytest.approx(recorded_accuracy["before"], abs=0.02)
    assert teacher_metrics["correct"] > 0.9 > 0.5 > student_metrics["correct"]


@pytest.mark.slow
def test_the_teacher_shares_the_tokenizer_of_the_practice_model(teacher: tuple[Any, Any]) -> None:
    from transformers import AutoTokenizer

    practice_tokenizer = AutoTokenizer.from_pretrained(models.locate_model("pocket"))
    assert teacher[1].get_vocab() == practice_tokenizer.get_vocab()
    assert teacher[1].chat_template == practice_tokenizer.chat_template


def test_the_teacher_adapter_is_refused_as_a_model() -> None:
    with pytest.raises(Problem, match="an adapter on the practice model"):
        models.locate_model("pocket-teacher")
