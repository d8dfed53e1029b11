"""Start: going on from an adapter begins where it stood, and what does not fit is refused before training."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from app.core.problems import Problem
from app.runs import adapters
from app.setup import models
from tests.in_process import POCKET, job_of, logits, losses, mixture, previewed, trained


@pytest.fixture(scope="module")
def mixed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return mixture(tmp_path_factory.mktemp("models") / "mixture")


@pytest.fixture(scope="module")
def earlier(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An adapter with a word of its own, as it would come from the Hub."""
    folder = tmp_path_factory.mktemp("earlier")
    trained(job_of(folder, {"new_tokens": ["<auth>"]}, {"r": 4, "alpha": 8}))
    return folder / "adapter"


@pytest.mark.slow
def test_going_on_begins_where_the_adapter_stood_and_keeps_its_words(earlier: Path, tmp_path: Path) -> None:
    from app.engine.model.load_model import load_tuned, real_model

    job = job_of(tmp_path, {"start_from": str(earlier)}, {"r": 4, "alpha": 8})
    before, tokenizer = load_tuned(earlier)
    assert job.tokenizer.tokenize("<auth>") == ["<auth>"]
    assert float((logits(real_model(job).eval(), tokenizer) - logits(before, tokenizer)).abs().max()) < 1e-5
    trainer = trained(job)
    assert losses(trainer)[-1] < losses(trainer)[0]
    after, _ = load_tuned(tmp_path / "adapter")
    assert float((logits(trainer.model, tokenizer) - logits(after, tokenizer)).abs().max()) < 1e-4


@pytest.mark.slow
@pytest.mark.parametrize(("adapter", "said"), [
    ({}, "of the kind lora with rank 4 and strength 8, and this setup asks for lora with rank 16 and strength 32"),
    ({"kind": "none"}, "asks for no adapter"),
    ({"r": 4, "alpha": 8, "targets": "q_proj"}, "keeps the layers that it trains"),
    ({"r": 4, "alpha": 8, "unfreeze": ["layers.3"]}, "keeps the layers that it trains"),
])  # fmt: skip
def test_going_on_as_another_adapter_is_refused_before_training(adapter: dict[str, Any], said: str, earlier: Path, tmp_path: Path) -> None:  # fmt: skip
    with pytest.raises(Problem) as refusal:
        previewed(job_of(tmp_path, {"start_from": str(earlier)}, adapter))
    assert said in str(refusal.value)


@pytest.mark.slow
def test_an_adapter_of_another_model_says_whose_it_is(earlier: Path, mixed: Path, tmp_path: Path) -> None:
    job = job_of(tmp_path, {"id": str(mixed), "start_from": str(earlier)}, {"r": 4, "alpha": 8})
    with pytest.raises(Problem, match=r"does not fit the model .*: it was made for .*pocket"):
        _ = job.model


@pytest.mark.slow
def test_an_adapter_named_as_the_model_is_sent_to_its_place(earlier: Path, tmp_path: Path) -> None:
    with pytest.raises(Problem) as refusal:
        models.locate_model(str(earlier))
    assert refusal.value.text.endswith("is an adapter, not a whole model.")
    assert refusal.value.advice == f"Name it as what to go on from and “{POCKET}” as the model."
    assert refusal.value.reason == "adapter_as_model"


def test_what_is_no_adapter_is_refused_by_its_name(tmp_path: Path) -> None:
    with pytest.raises(Problem, match="There is no adapter called"):
        adapters.locate_adapter(str(tmp_path))
    assert adapters.locate_adapter("owner/name") == "owner/name"
