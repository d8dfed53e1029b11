"""Settings that the form calls not used: they name other settings, and they really have no effect."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from app.core import registry
from app.engine.contracts import load_method
from app.setup.common_settings import COMMON_SETTINGS
from app.setup.knob import describe_knobs
from tests.in_process import build_job, logged_losses, train_job

# {the setting, and what is chosen elsewhere: (that choice, one value of the setting, another)}
CASES: dict[str, tuple[dict[str, Any], dict[str, Any], dict[str, Any]]] = {
    "floor, linear": ({"schedule": "linear"}, {"floor": 0.1}, {"floor": 0.9}),
    "decay, cosine_with_floor": ({"schedule": "cosine_with_floor"}, {"decay": 0.2}, {"decay": 0.9}),
    "warmup, warmup_steps": ({"warmup_steps": 2}, {"warmup": 0.0}, {"warmup": 0.9}),
    "warmup, constant": ({"schedule": "constant"}, {"warmup": 0.0}, {"warmup": 0.9}),
    "warmup_steps, constant": ({"schedule": "constant"}, {"warmup_steps": 0}, {"warmup_steps": 3}),
    "adam_beta1, sgd": ({"optimizer": "sgd"}, {"adam_beta1": 0.9}, {"adam_beta1": 0.1}),
    "adam_beta2, adafactor": ({"optimizer": "adafactor"}, {"adam_beta2": 0.9}, {"adam_beta2": 0.1}),
    "adam_epsilon, lion": ({"optimizer": "lion"}, {"adam_epsilon": 1e-8}, {"adam_epsilon": 1.0}),
}
USED = {
    "floor, cosine_with_floor": ({"schedule": "cosine_with_floor"}, {"floor": 0.1}, {"floor": 0.9}),
    "adam_beta1, adamw": ({"optimizer": "adamw"}, {"adam_beta1": 0.9}, {"adam_beta1": 0.1}),
}


def declarations() -> list[dict[str, Any]]:
    """The settings of all methods, each with the names that it may refer to."""
    common = {setting["path"]: setting for setting in COMMON_SETTINGS}
    declared = [{**setting, "others": common} for setting in COMMON_SETTINGS]
    for method in registry.names("methods"):
        settings = describe_knobs(load_method(method).knobs)
        others = common | {f"knobs.{setting['name']}": setting for setting in settings}
        declared += [{**setting, "others": others} for setting in settings]
    return declared


def test_every_choice_that_makes_a_setting_useless_exists() -> None:
    referring = [setting for setting in declarations() if setting.get("unused_with")]
    assert {"r", "epochs", "floor", "warmup", "adam_beta1"} <= {setting["name"] for setting in referring}
    for setting in referring:
        for path, values in setting["unused_with"].items():
            other = setting["others"].get(path)
            assert other, f"{setting['name']} names {path}, which is no setting"
            assert set(values) <= set(other.get("choices") or values), setting["name"]


def losses_of(tmp_path: Path, choice: dict[str, Any], settings: dict[str, Any]) -> list[float]:
    return logged_losses(train_job(build_job(tmp_path, **choice, **settings)))


@pytest.mark.slow
@pytest.mark.first_cases(2)
@pytest.mark.parametrize("name", CASES)
def test_a_setting_that_is_not_used_changes_no_loss(name: str, tmp_path: Path) -> None:
    choice, first, second = CASES[name]
    assert losses_of(tmp_path, choice, first) == losses_of(tmp_path, choice, second)


@pytest.mark.slow
@pytest.mark.parametrize("name", USED)
def test_the_same_settings_have_an_effect_elsewhere(name: str, tmp_path: Path) -> None:
    choice, first, second = USED[name]
    assert losses_of(tmp_path, choice, first) != losses_of(tmp_path, choice, second)


@pytest.mark.slow
def test_rank_and_strength_change_nothing_with_ia3(tmp_path: Path) -> None:
    adapters = ({"kind": "ia3", "r": 4, "alpha": 8}, {"kind": "ia3", "r": 32, "alpha": 256})
    first, second = (logged_losses(train_job(build_job(tmp_path, adapter=adapter))) for adapter in adapters)
    assert first == second
