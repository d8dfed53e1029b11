"""Training arguments: the shared settings as the trainer gets them, and learning rates worked by hand."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from app.core.problems import Problem
from app.engine.model.device import Device
from app.engine.trainers.lr_schedule import (
    count_warmup_steps,
    lr_scheduler_kwargs,
    require_time_after_warmup,
    set_scheduled_rate,
)
from app.engine.trainers.optimizer import OPTIMIZERS, require_optimizer
from app.engine.trainers.training_args import TrainingKnobs, default_learning_rate, training_kwargs
from tests.support import build_spec, conversation_rows, write_rows


@pytest.mark.parametrize(("adapter", "parameter_count", "expected_rate"), [
    ("lora", 50_000_000, 1e-3), ("lora", 49_999_999, 2e-3), ("none", 50_000_000, 1e-4), ("none", 49_999_999, 2e-4),
    ("lora", 299_999_999, 1e-3), ("lora", 300_000_000, 2e-4), ("none", 300_000_000, 2e-5),
    ("dora", None, 2e-4), ("none", None, 2e-5), ("rslora", 7 * 10**9, 2e-4),
])  # fmt: skip
def test_the_default_learning_rate_depends_on_adapter_and_model_size(
    adapter: str, parameter_count: int | None, expected_rate: float
) -> None:
    assert default_learning_rate(adapter, parameter_count) == pytest.approx(expected_rate, rel=1e-12)


def test_default_learning_rates_lie_in_common_ranges() -> None:
    assert 1e-4 <= default_learning_rate("lora", 10**9) <= 3e-4
    assert 1e-5 <= default_learning_rate("none", 10**9) <= 5e-5


def test_every_shared_setting_reaches_the_training_arguments() -> None:
    knobs = TrainingKnobs(learning_rate=1e-3, epochs=2, steps=5, batch_size=3, accumulation=4, schedule="cosine", warmup=0.1,
                          weight_decay=0.01, max_grad_norm=0.5)  # fmt: skip
    kwargs = training_kwargs(knobs, seed=11)
    assert {name: kwargs[name] for name in ("learning_rate", "num_train_epochs", "max_steps", "lr_scheduler_type", "warmup_steps")} == {
        "learning_rate": 1e-3, "num_train_epochs": 2, "max_steps": 5, "lr_scheduler_type": "cosine", "warmup_steps": 0.1}  # fmt: skip
    assert kwargs["per_device_train_batch_size"] == kwargs["per_device_eval_batch_size"] == 3
    assert (kwargs["gradient_accumulation_steps"], kwargs["weight_decay"], kwargs["max_grad_norm"], kwargs["seed"]) == (
        4,
        0.01,
        0.5,
        11,
    )


def test_betas_and_epsilon_reach_the_training_arguments_and_are_those_of_transformers_by_default() -> None:
    names = ("adam_beta1", "adam_beta2", "adam_epsilon")
    default_kwargs = training_kwargs(TrainingKnobs(), seed=7)
    assert [default_kwargs[name] for name in names] == [0.9, 0.999, 1e-8]
    kwargs = training_kwargs(TrainingKnobs(adam_beta1=0.8, adam_beta2=0.95, adam_epsilon=1e-6), seed=7)
    assert [kwargs[name] for name in names] == [0.8, 0.95, 1e-6]


@pytest.mark.parametrize("name", ["adam_beta1", "adam_beta2"])
def test_a_beta_of_one_is_refused(name: str) -> None:
    """It would never let anything new in: the library divides by 1 - beta."""
    with pytest.raises(ValidationError, match=name):
        TrainingKnobs(**{name: 1.0})


def test_without_steps_the_number_of_epochs_limits_training() -> None:
    assert training_kwargs(TrainingKnobs(), 7)["max_steps"] == -1


def test_every_loss_is_logged_without_a_filter_for_nonfinite_losses() -> None:
    kwargs = training_kwargs(TrainingKnobs(), 7)
    assert kwargs["logging_nan_inf_filter"] is False
    assert kwargs["logging_steps"] == 1


def test_the_trainer_does_not_save_evaluate_or_report_by_itself() -> None:
    kwargs = training_kwargs(TrainingKnobs(), 7)
    assert (kwargs["save_strategy"], kwargs["eval_strategy"], kwargs["report_to"], kwargs["disable_tqdm"]) == (
        "no",
        "no",
        "none",
        True,
    )


@pytest.mark.slow
def test_every_argument_exists_in_training_arguments() -> None:
    """An argument that the pinned library does not have would otherwise fail only when a run starts."""
    from dataclasses import fields

    from transformers import TrainingArguments

    assert set(training_kwargs(TrainingKnobs(), 7)) <= {field.name for field in fields(TrainingArguments)}


# -- schedules ----------------------------------------------------------------------------------------------------

SQRT_HALF = 0.5**0.5
# {schedule: (settings, {step of 20: factor of the learning rate})}, worked by hand.
EXPECTED_LEARNING_RATE_FACTORS = {
    "linear": ({}, {0: 1, 10: 0.5, 19: 0.05, 20: 0}),
    "cosine": ({}, {0: 1, 5: (1 + SQRT_HALF) / 2, 10: 0.5, 20: 0}),
    "cosine_with_floor": ({"floor": 0.2}, {0: 1, 10: 0.6, 20: 0.2}),
    "constant": ({}, {0: 1, 19: 1}),
    "constant_with_warmup": ({"warmup": 0.2}, {0: 0, 2: 0.5, 4: 1, 19: 1}),
    "polynomial": ({}, {0: 1, 10: 0.25, 15: 0.0625, 20: 0}),
    "inverse_sqrt": ({}, {0: 1, 2: SQRT_HALF, 6: 0.5}),
    "stable_then_decay": ({"decay": 0.5, "floor": 0.2, "warmup": 0.1}, {2: 1, 9: 1, 10: 1, 15: 0.6, 20: 0.2}),
}


@pytest.mark.slow
@pytest.mark.parametrize("schedule", EXPECTED_LEARNING_RATE_FACTORS)
def test_a_schedule_follows_its_expected_curve(schedule: str) -> None:
    import torch
    from transformers import get_scheduler

    schedule_knobs, expected_factors = EXPECTED_LEARNING_RATE_FACTORS[schedule]
    knobs = TrainingKnobs(schedule=schedule, learning_rate=0.1, **schedule_knobs)
    scheduler_type = training_kwargs(knobs, 7)["lr_scheduler_type"]
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    scheduler = get_scheduler(scheduler_type, optimizer, round(20 * knobs.warmup), 20, lr_scheduler_kwargs(knobs, 20))
    assert {step: scheduler.lr_lambdas[0](step) for step in expected_factors} == pytest.approx(
        expected_factors, abs=1e-9
    )


def test_every_schedule_has_an_expected_curve() -> None:
    assert set(EXPECTED_LEARNING_RATE_FACTORS) == set(
        TrainingKnobs.model_json_schema()["properties"]["schedule"]["enum"]
    )


def test_a_warmup_in_steps_replaces_the_share() -> None:
    knobs = TrainingKnobs(warmup=0.5, warmup_steps=3)
    assert training_kwargs(knobs, 7)["warmup_steps"] == 3
    assert training_kwargs(TrainingKnobs(warmup=0.5, warmup_steps=0), 7)["warmup_steps"] == 0
    assert training_kwargs(TrainingKnobs(warmup=0.5), 7)["warmup_steps"] == 0.5
    assert (count_warmup_steps(knobs, 20), count_warmup_steps(TrainingKnobs(warmup=0.26), 20)) == (3, 6)


def test_schedules_that_depend_on_the_warmup_know_one_in_steps() -> None:
    stable = TrainingKnobs(schedule="stable_then_decay", decay=1.0, warmup_steps=4)
    assert lr_scheduler_kwargs(stable, 20)["num_decay_steps"] == 16
    assert lr_scheduler_kwargs(TrainingKnobs(schedule="inverse_sqrt", warmup_steps=4), 20) == {"timescale": 4}
    assert lr_scheduler_kwargs(TrainingKnobs(schedule="inverse_sqrt", warmup_steps=0), 20) == {"timescale": 2}


def test_warmup_steps_below_one_are_a_share_as_in_transformers() -> None:
    assert TrainingKnobs(warmup_steps=0.1) == TrainingKnobs(warmup=0.5, warmup_steps=0.1) == TrainingKnobs(warmup=0.1)
    with pytest.raises(ValidationError, match="warmup_steps"):
        TrainingKnobs(warmup_steps=2.5)


def test_a_warmup_as_long_as_the_run_is_refused() -> None:
    require_time_after_warmup(TrainingKnobs(warmup_steps=7), 8)
    with pytest.raises(Problem, match="The warm-up of 8 steps is as long as the whole run, which has 8") as refusal:
        require_time_after_warmup(TrainingKnobs(warmup_steps=8), 8)
    assert refusal.value.advice == "Choose at most 4 warm-up steps, or train longer."


# -- optimizers ---------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def chat_source(tmp_path_factory: pytest.TempPathFactory) -> str:
    return write_rows(tmp_path_factory.mktemp("rows") / "chats.jsonl", conversation_rows(64))


def build_trainer(source: str, folder: Path, fields: dict[str, Any] | None = None, /, **knobs: Any) -> Any:
    """The SFT trainer on the practice model, which saves a checkpoint after its third step. fields: more of the Spec."""
    from transformers import TrainerCallback

    from app.engine.job import Job
    from app.engine.libraries import prepare_libraries

    class SaveAtThree(TrainerCallback):
        def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> Any:
            control.should_save = state.global_step == 3
            return control

    prepare_libraries()
    spec = build_spec(
        "sft", source, {"steps": 5, "batch_size": 4, "max_length": 64, "learning_rate": 1e-3} | knobs, **(fields or {})
    )
    job = Job(spec, folder, Device("cpu"), callbacks=[SaveAtThree()])
    return job.method.build(job)


def logged_metric(trainer: Any, name: str = "loss") -> list[float]:
    return [log_entry[name] for log_entry in trainer.state.log_history if name in log_entry]


@pytest.mark.full
@pytest.mark.slow
@pytest.mark.parametrize(("optimizer", "schedule"), [
    ("adamw_8bit", "stable_then_decay"), ("adafactor", "cosine_with_floor"), ("lion", "polynomial"), ("sgd", "inverse_sqrt"),
])  # fmt: skip
def test_a_resumed_run_equals_an_uninterrupted_one_with_each_optimizer(optimizer: str, schedule: str, chat_source: str, tmp_path: Path) -> None:  # fmt: skip
    knobs = {"optimizer": optimizer, "schedule": schedule, "warmup": 0.2}
    uninterrupted = build_trainer(chat_source, tmp_path, **knobs)
    uninterrupted.train()
    assert type(uninterrupted.optimizer.optimizer).__name__.lower() in (optimizer, optimizer.removesuffix("_8bit"))
    assert logged_metric(uninterrupted)[-1] != logged_metric(uninterrupted)[0]
    resumed = build_trainer(chat_source, tmp_path, **knobs)
    resumed.train(resume_from_checkpoint=str(tmp_path / "checkpoints" / "checkpoint-3"))
    assert logged_metric(resumed) == pytest.approx(logged_metric(uninterrupted), rel=1e-6)
    assert logged_metric(resumed, "learning_rate") == pytest.approx(
        logged_metric(uninterrupted, "learning_rate"), rel=1e-12
    )


@pytest.mark.slow
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_every_optimizer_exists_in_transformers(optimizer: str) -> None:
    from transformers.training_args import OptimizerNames

    assert OptimizerNames(OPTIMIZERS[optimizer][0])


def test_an_optimizer_that_needs_a_gpu_is_refused_without_one() -> None:
    with pytest.raises(Problem, match="this machine trains without one"):
        require_optimizer(TrainingKnobs(optimizer="paged_adamw_8bit"), Device("cpu"))
    require_optimizer(TrainingKnobs(optimizer="paged_adamw_8bit"), Device("cuda:0"))
    require_optimizer(TrainingKnobs(optimizer="adamw_8bit"), Device("cpu"))


@pytest.mark.parametrize(("schedule", "expected_rate"), [("linear", 0.5), ("cosine", 0.5), ("constant", 1.0)])
def test_a_schedule_that_ended_goes_on_at_the_rate_of_the_longer_one(schedule: str, expected_rate: float) -> None:
    """Worked by hand: after 4 of 8 steps a linear and a cosine schedule are at half of their rate."""
    import torch
    from transformers import get_scheduler

    def optimizer_and_scheduler(steps: int) -> tuple[torch.optim.Optimizer, torch.optim.lr_scheduler.LRScheduler]:
        optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
        return optimizer, get_scheduler(schedule, optimizer, 0, steps)

    optimizer, scheduler = optimizer_and_scheduler(4)
    for _ in range(4):
        optimizer.step()
        scheduler.step()
    longer_optimizer, longer_scheduler = optimizer_and_scheduler(8)
    longer_optimizer.load_state_dict(optimizer.state_dict())
    longer_scheduler.load_state_dict(scheduler.state_dict())
    assert longer_optimizer.param_groups[0]["lr"] == pytest.approx(1.0 if schedule == "constant" else 0.0), "as saved"
    set_scheduled_rate(longer_scheduler)
    assert longer_optimizer.param_groups[0]["lr"] == pytest.approx(expected_rate)
    assert longer_scheduler.get_last_lr() == [pytest.approx(expected_rate)]
    assert longer_scheduler.last_epoch == 4
