"""Training: the shared settings as the loop gets them, and learning rates worked by hand."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from app.core.problems import Problem
from app.engine.model.device import Device
from app.engine.trainers.training_args import (
    OPTIMIZERS,
    TrainingKnobs,
    default_learning_rate,
    lr_scheduler_kwargs,
    require_device,
    training_kwargs,
)
from tests.support import chats, spec_of, write_rows


@pytest.mark.parametrize(("adapter", "weights", "rate"), [
    ("lora", 50_000_000, 2e-4), ("lora", 49_999_999, 2e-3), ("none", 50_000_000, 2e-5), ("none", 49_999_999, 2e-4),
    ("dora", None, 2e-4), ("none", None, 2e-5), ("rslora", 7 * 10**9, 2e-4),
])  # fmt: skip
def test_the_learning_rate_by_adapter_and_size(adapter: str, weights: int | None, rate: float) -> None:
    assert default_learning_rate(adapter, weights) == pytest.approx(rate, rel=1e-12)


def test_the_usual_rates_lie_in_the_ranges_the_field_uses() -> None:
    assert 1e-4 <= default_learning_rate("lora", 10**9) <= 3e-4
    assert 1e-5 <= default_learning_rate("none", 10**9) <= 5e-5


def test_every_shared_setting_reaches_the_loop() -> None:
    knobs = TrainingKnobs(learning_rate=1e-3, epochs=2, steps=5, batch_size=3, accumulation=4, schedule="cosine", warmup=0.1,
                          weight_decay=0.01, max_grad_norm=0.5)  # fmt: skip
    told = training_kwargs(knobs, seed=11)
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
    assert training_kwargs(TrainingKnobs(), 7)["max_steps"] == -1


def test_a_loss_that_is_no_number_is_never_shown_as_zero() -> None:
    told = training_kwargs(TrainingKnobs(), 7)
    assert told["logging_nan_inf_filter"] is False
    assert told["logging_steps"] == 1


def test_the_loop_saves_tests_and_reports_only_when_the_story_says() -> None:
    told = training_kwargs(TrainingKnobs(), 7)
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

    assert set(training_kwargs(TrainingKnobs(), 7)) <= {field.name for field in fields(TrainingArguments)}


# -- schedules ----------------------------------------------------------------------------------------------------

HALF = 0.5**0.5
# {schedule: (settings, {step of 20: the share of the full size})}, worked by hand.
SHARES = {
    "linear": ({}, {0: 1, 10: 0.5, 19: 0.05, 20: 0}),
    "cosine": ({}, {0: 1, 5: (1 + HALF) / 2, 10: 0.5, 20: 0}),
    "cosine_with_floor": ({"floor": 0.2}, {0: 1, 10: 0.6, 20: 0.2}),
    "constant": ({}, {0: 1, 19: 1}),
    "constant_with_warmup": ({"warmup": 0.2}, {0: 0, 2: 0.5, 4: 1, 19: 1}),
    "polynomial": ({}, {0: 1, 10: 0.25, 15: 0.0625, 20: 0}),
    "inverse_sqrt": ({}, {0: 1, 2: HALF, 6: 0.5}),
    "stable_then_decay": ({"decay": 0.5, "floor": 0.2, "warmup": 0.1}, {2: 1, 9: 1, 10: 1, 15: 0.6, 20: 0.2}),
}


@pytest.mark.slow
@pytest.mark.parametrize("schedule", SHARES)
def test_a_schedule_follows_its_curve(schedule: str) -> None:
    import torch
    from transformers import get_scheduler

    settings, shares = SHARES[schedule]
    knobs = TrainingKnobs(schedule=schedule, learning_rate=0.1, **settings)
    name = training_kwargs(knobs, 7)["lr_scheduler_type"]
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    made = get_scheduler(name, optimizer, round(20 * knobs.warmup), 20, lr_scheduler_kwargs(knobs, 20))
    assert {step: made.lr_lambdas[0](step) for step in shares} == pytest.approx(shares, abs=1e-9)


def test_every_schedule_is_a_curve_here() -> None:
    assert set(SHARES) == set(TrainingKnobs.model_json_schema()["properties"]["schedule"]["enum"])


# -- optimizers ---------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def rows(tmp_path_factory: pytest.TempPathFactory) -> str:
    return write_rows(tmp_path_factory.mktemp("rows") / "chats.jsonl", chats(64))


def trainer_of(source: str, folder: Path, **knobs: Any) -> Any:
    """The real trainer on the practice model, which saves a checkpoint after its third step."""
    from transformers import TrainerCallback

    from app.engine.job import Job
    from app.engine.libraries import prepare_libraries

    class SaveAtThree(TrainerCallback):
        def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> Any:
            control.should_save = state.global_step == 3
            return control

    prepare_libraries()
    spec = spec_of("sft", source, {"steps": 5, "batch_size": 4, "max_length": 64, "learning_rate": 1e-3} | knobs)
    job = Job(spec, folder, Device("cpu"), callbacks=[SaveAtThree()])
    return job.method.build(job)


def told(trainer: Any, name: str = "loss") -> list[float]:
    return [line[name] for line in trainer.state.log_history if name in line]


@pytest.mark.slow
@pytest.mark.parametrize(("optimizer", "schedule"), [
    ("adamw_8bit", "stable_then_decay"), ("adafactor", "cosine_with_floor"), ("lion", "polynomial"), ("sgd", "inverse_sqrt"),
])  # fmt: skip
def test_resumed_with_another_optimizer_it_goes_on_as_if_undisturbed(optimizer: str, schedule: str, rows: str, tmp_path: Path) -> None:  # fmt: skip
    how = {"optimizer": optimizer, "schedule": schedule, "warmup": 0.2}
    whole = trainer_of(rows, tmp_path, **how)
    whole.train()
    assert type(whole.optimizer.optimizer).__name__.lower() in (optimizer, optimizer.removesuffix("_8bit"))
    assert told(whole)[-1] != told(whole)[0]
    resumed = trainer_of(rows, tmp_path, **how)
    resumed.train(resume_from_checkpoint=str(tmp_path / "checkpoints" / "checkpoint-3"))
    assert told(resumed) == pytest.approx(told(whole), rel=1e-6)
    assert told(resumed, "learning_rate") == pytest.approx(told(whole, "learning_rate"), rel=1e-12)


@pytest.mark.slow
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_the_loop_knows_every_optimizer(optimizer: str) -> None:
    from transformers.training_args import OptimizerNames

    assert OptimizerNames(OPTIMIZERS[optimizer][0])


def test_what_only_a_graphics_card_can_do_is_refused_without_one() -> None:
    with pytest.raises(Problem, match="this machine trains without one"):
        require_device(TrainingKnobs(optimizer="paged_adamw_8bit"), Device("cpu"))
    require_device(TrainingKnobs(optimizer="paged_adamw_8bit"), Device("cuda:0"))
    require_device(TrainingKnobs(optimizer="adamw_8bit"), Device("cpu"))
