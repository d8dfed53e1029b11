"""The practice model's teacher: shipped as its script makes it, fit to teach, and nothing it learned from is tested on."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from app.core.problems import Problem
from app.data import files
from app.runs import adapters
from app.setup import models
from presets import make_teacher
from presets.village import held_out
from tests.support import generated, spec_of

FOLDER = Path(adapters.locate_model_or_adapter("pocket-teacher"))


@pytest.fixture(scope="module")
def teacher() -> tuple[Any, Any]:
    from app.engine.model.load_model import load_tuned

    return load_tuned(FOLDER)


def test_it_is_what_the_script_makes() -> None:
    told = json.loads((FOLDER / "made.json").read_text())
    assert told["settings"] == make_teacher.TEACHING
    assert told["lessons"] == make_teacher.LESSONS + 400
    config = json.loads((FOLDER / "adapter_config.json").read_text())
    assert (config["base_model_name_or_path"], config["r"]) == ("pocket", 32)
    assert sum(models.read_tensor_sizes(FOLDER / "adapter_model.safetensors")) == told["of_adapter"]
    assert sum(file.stat().st_size for file in FOLDER.iterdir()) < 1_400_000


def test_it_learned_from_no_held_out_sum() -> None:
    lessons = list(make_teacher.sums())
    pairs = [
        [int(word) for word in row["prompt"].replace("?", " ").replace(".", " ").split() if word.isdigit()]
        for row in lessons
    ]
    assert all(a + b == int(row["answer"]) for (a, b), row in zip(pairs, lessons, strict=True))
    assert not any(held_out(a, b) for a, b in pairs)


@pytest.mark.slow
def test_it_answers_held_out_sums_better_than_the_practice_model(teacher: tuple[Any, Any]) -> None:
    from app.engine.evaluation.completion_rewards import CompletionScorer, prompts_of_rows

    spec = spec_of("grpo", "sample:sums", {"steps": 1}, rewards=[{"name": "exact_match", "as": "correct"}])
    held = list(files.read_file_rows(files.source_path(spec.data[0], "holdout")))
    model, words = teacher
    scorer, prompts = CompletionScorer(spec.rewards, words, "cpu"), prompts_of_rows(held)
    asked = [prompt.prompt for prompt in prompts]
    taught, _ = scorer.evaluate(prompts, generated(model, words, asked, 8))
    with model.disable_adapter():
        student, _ = scorer.evaluate(prompts, generated(model, words, asked, 8))
    told = json.loads((FOLDER / "made.json").read_text())["correct"]
    assert (len(held), taught["correct"]) == (200, pytest.approx(told["after"], abs=0.02))
    assert student["correct"] == pytest.approx(told["before"], abs=0.02)
    assert taught["correct"] > 0.9 > 0.5 > student["correct"]


@pytest.mark.slow
def test_it_shares_the_practice_models_words(teacher: tuple[Any, Any]) -> None:
    from transformers import AutoTokenizer

    theirs = AutoTokenizer.from_pretrained(models.locate_model("pocket"))
    assert teacher[1].get_vocab() == theirs.get_vocab()
    assert teacher[1].chat_template == theirs.chat_template


def test_it_is_no_model_of_its_own() -> None:
    with pytest.raises(Problem, match="an adapter on the practice model"):
        models.locate_model("pocket-teacher")
