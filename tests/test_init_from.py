"""Initialisation from an adapter: training continues with its weights, and an adapter that does not fit is refused before training."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from app.core.problems import Problem
from app.runs import adapters
from app.setup import models
from tests.in_process import POCKET, build_job, logged_losses, logits, preview_batches, save_moe_model, train_job


@pytest.fixture(scope="module")
def moe_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_moe_model(tmp_path_factory.mktemp("models") / "mixture")


@pytest.fixture(scope="module")
def trained_adapter(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A trained adapter with an added token, as it could come from the Hub."""
    folder = tmp_path_factory.mktemp("earlier")
    train_job(build_job(folder, {"new_tokens": ["<auth>"]}, {"r": 4, "alpha": 8}))
    return folder / "adapter"


@pytest.mark.slow
def test_training_continues_from_the_weights_and_added_tokens_of_the_adapter(
    trained_adapter: Path, tmp_path: Path
) -> None:
    from app.engine.model.load_model import load_tuned, real_model

    job = build_job(tmp_path, {"start_from": str(trained_adapter)}, {"r": 4, "alpha": 8})
    initial_model, tokenizer = load_tuned(trained_adapter)
    assert job.tokenizer.tokenize("<auth>") == ["<auth>"]
    assert float((logits(real_model(job).eval(), tokenizer) - logits(initial_model, tokenizer)).abs().max()) < 1e-5
    trainer = train_job(job)
    assert logged_losses(trainer)[-1] < logged_losses(trainer)[0]
    reloaded_model, _ = load_tuned(tmp_path / "adapter")
    assert float((logits(trainer.model, tokenizer) - logits(reloaded_model, tokenizer)).abs().max()) < 1e-4


@pytest.mark.slow
@pytest.mark.parametrize(("adapter", "message"), [
    ({}, "of the kind lora with rank 4 and strength 8, and this setup asks for lora with rank 16 and strength 32"),
    ({"kind": "none"}, "asks for no adapter"),
    ({"r": 4, "alpha": 8, "targets": "q_proj"}, "keeps the layers that it trains"),
    ({"r": 4, "alpha": 8, "unfreeze": ["layers.3"]}, "keeps the layers that it trains"),
])  # fmt: skip
def test_other_adapter_settings_are_refused_before_training(adapter: dict[str, Any], message: str, trained_adapter: Path, tmp_path: Path) -> None:  # fmt: skip
    with pytest.raises(Problem) as refusal:
        preview_batches(build_job(tmp_path, {"start_from": str(trained_adapter)}, adapter))
    assert message in str(refusal.value)


@pytest.mark.slow
def test_an_adapter_of_another_model_is_refused_with_the_name_of_its_model(
    trained_adapter: Path, moe_model: Path, tmp_path: Path
) -> None:
    job = build_job(tmp_path, {"id": str(moe_model), "start_from": str(trained_adapter)}, {"r": 4, "alpha": 8})
    with pytest.raises(Problem, match=r"does not fit the model .*: it was made for .*pocket"):
        _ = job.model


@pytest.mark.slow
def test_an_adapter_given_as_the_model_is_refused_with_advice(trained_adapter: Path, tmp_path: Path) -> None:
    with pytest.raises(Problem) as refusal:
        models.locate_model(str(trained_adapter))
    assert refusal.value.text.endswith("is an adapter, not a whole model.")
    assert refusal.value.advice == f"Name it as what to go on from and “{POCKET}” as the model."
    assert refusal.value.reason == "adapter_as_model"


def test_a_folder_without_an_adapter_is_refused(tmp_path: Path) -> None:
    with pytest.raises(Problem, match="There is no adapter called"):
        adapters.locate_adapter(str(tmp_path))
    assert adapters.locate_adapter("owner/name") == "owner/name"
