"""Training: the shared settings as the loop gets them, and learning rates worked by hand."""

from __future__ import annotations

import pytest

from app.engine.training import TrainingKnobs, learning_rate, loop_arguments


@pytest.mark.parametrize(("adapter", "weights", "rate"), [
    ("lora", 50_000_000, 2e-4), ("lora", 49_999_999, 2e-3), ("none", 50_000_000, 2e-5), ("none", 49_999_999, 2e-4),
    ("dora", None, 2e-4), ("none", None, 2e-5), ("rslora", 7 * 10**9, 2e-4),
])  # fmt: skip
def test_the_learning_rate_by_adapter_and_size(adapter: str, weights: int | None, rate: float) -> None:
    assert learning_rate(adapter, weights) == pytest.approx(rate, rel=1e-12)


def test_the_usual_rates_lie_in_the_ranges_the_field_uses() -> None:
    assert 1e-4 <= learning_rate("lora", 10**9) <= 3e-4
    assert 1e-5 <= learning_rate("none", 10**9) <= 5e-5


def test_every_shared_setting_reaches_the_loop() -> None:
    knobs = TrainingKnobs(learning_rate=1e-3, epochs=2, steps=5, batch_size=3, accumulation=4, schedule="cosine", warmup=0.1,
                          weight_decay=0.01, max_grad_norm=0.5)  # fmt: skip
    told = loop_arguments(knobs, seed=11)
    assert {name: told[name] for name in ("learning_rate", "num_train_epochs", "max_steps", "lr_scheduler_type", "warmup_steps")} == {
        "learning_rate": 1e-3, "num_train_epochs": 2, "max_steps": 5, "lr_scheduler_type": "cosine", "warmup_steps": 0.1}  # fmt: skip
    assert told["per_device_train_batch_size"] == told["per_device_eval_batch_size"] == 3
    assert (told["gradient_accumulation_steps"], told["weight_decay"], told["max_grad_norm"], told["seed"]) == (
        4,
        0.01,
        0.5,
        11,
    )


def test_without_steps_the_loop_counts_passes() -> None:
    assert loop_arguments(TrainingKnobs(), 7)["max_steps"] == -1


def test_a_loss_that_is_no_number_is_never_shown_as_zero() -> None:
    told = loop_arguments(TrainingKnobs(), 7)
    assert told["logging_nan_inf_filter"] is False
    assert told["logging_steps"] == 1


def test_the_loop_saves_tests_and_reports_only_when_the_story_says() -> None:
    told = loop_arguments(TrainingKnobs(), 7)
    assert (told["save_strategy"], told["eval_strategy"], told["report_to"], told["disable_tqdm"]) == (
        "no",
        "no",
        "none",
        True,
    )


@pytest.mark.slow
def test_the_loop_knows_every_argument() -> None:
    """An argument that the pinned library does not have would fail only when a run starts."""
    from dataclasses import fields

    from transformers import TrainingArguments

    assert set(loop_arguments(TrainingKnobs(), 7)) <= {field.name for field in fields(TrainingArguments)}
