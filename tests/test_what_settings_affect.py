"""What settings affect: each setting declares it once, and cached results stay valid until a setting that affects them changes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

import pytest
from pydantic import ValidationError

from app.core import registry
from app.engine.contracts import load_method
from app.planning.resolve import resolve
from app.setup.knob import Affects, Knobs, describe_knobs, knob, settings_without_effect
from app.setup.spec import Spec, parse_spec
from tests.support import (
    build_spec,
    conversation_rows,
    preference_rows,
    text_rows,
    unpaired_preference_rows,
    write_rows,
)

if TYPE_CHECKING:
    from app.engine.job import Job

METHODS = registry.names("methods")
# Methods whose prepared rows are cached, with the generator of their test rows.
ROWS_OF_CACHED_METHODS: dict[str, Callable[[int], list[dict[str, Any]]]] = {
    "sft": conversation_rows,
    "pretrain": text_rows,
    "dpo": preference_rows,
    "kto": unpaired_preference_rows,
    "reward": preference_rows,
    "tpo": lambda count: [row | {"reference": row["chosen"]} for row in preference_rows(count)],
}
# Cannot be changed together with the others: optimizer and offloading need another device, streaming never prepares all
# rows at once.
EXCLUDED_SETTINGS = {"optimizer", "activation_offloading", "streaming"}
COMMON_SETTINGS = {
    "order": {"batch_size", "accumulation"},
    "length": {"epochs", "steps"},
    "timing": {"optimizer", "precision", "checkpointing"},
    "training": {
        "learning_rate",
        "schedule",
        "warmup",
        "floor",
        "decay",
        "weight_decay",
        "max_grad_norm",
        "adam_beta1",
        "adam_beta2",
        "adam_epsilon",
        "warmup_steps",
        "loraplus_lr_ratio",
        "embedding_learning_rate",
    },
    "evaluation": {"evaluations", "eval_answers", "eval_length", "saves", "save_minutes"},
}


def settings_affecting(method: str, category: str) -> set[str]:
    return {setting["name"] for setting in describe_knobs(load_method(method).knobs) if setting["affects"] == category}


def build_job(spec: Spec, folder: Path) -> Job:
    from app.engine.job import Job
    from app.engine.model.device import Device

    return Job(spec, folder, Device("cpu"))


def different_value(setting: dict[str, Any], current: Any) -> Any:
    """A different valid value of the setting's type, within its limits."""
    if setting["type"] == "bool":
        return not current
    if setting["type"] == "choice":
        return next(choice for choice in setting["choices"] if choice != current)
    if setting["type"] == "list":
        return [*current, "user"]
    if setting["type"] in ("int", "float"):
        return setting["low"] if current is None or current + 1 > setting["high"] else current + 1
    return f"{current} other"


@pytest.mark.parametrize("method", METHODS)
def test_every_setting_declares_what_it_affects(method: str) -> None:
    assert {setting["affects"] for setting in describe_knobs(load_method(method).knobs)} <= {*get_args(Affects)}
    for category, names in COMMON_SETTINGS.items():
        exceptions = {"batch_size", "accumulation"} if method == "kto" else set()
        assert names - exceptions <= settings_affecting(method, category)


def test_these_settings_change_prepared_rows() -> None:
    assert settings_affecting("sft", "rows") == {
        *("max_length", "packing", "packing_strategy", "chat_format", "template_arguments", "split_thoughts"),
        *("learn_from", "roles", "last_turn_only", "end_tokens", "response_template", "instruction_template"),
    }
    assert (
        settings_affecting("dpo", "rows")
        == settings_affecting("reward", "rows")
        == settings_affecting("tpo", "rows")
        == {"max_length"}
    )
    assert settings_affecting("kto", "rows") == {"max_length", "batch_size", "loss"}
    assert settings_affecting("pretrain", "rows") == {"max_length", "packing"}


def test_a_redeclared_setting_takes_the_affected_category_of_the_subclass() -> None:
    class Parent(Knobs):
        heat: int = knob(1, "Heat.", affects="timing")
        trays: int = knob(1, "Trays.")

    class Child(Parent):
        heat: int = knob(2, "More heat.")
        trays: int = knob(2, "More trays.", affects="rows")

    assert settings_without_effect(Parent, {"timing"}) == {"trays"}
    assert settings_without_effect(Child, {"timing"}) == {"trays"}
    assert settings_without_effect(Child, {"rows"}) == {"heat"}
    assert settings_without_effect(Parent, {"training"}) == {"heat"}


@pytest.mark.parametrize("method", METHODS)
def test_the_cache_key_changes_exactly_with_settings_that_affect_rows(method: str, tmp_path: Path) -> None:
    from datasets import Dataset

    from app.engine.datasets import prepared_cache

    dataset, spec = (
        Dataset.from_dict({"text": ["a", "b"]}),
        resolve(parse_spec({"method": method, "data": [{"source": "sample:tickets"}]})),
    )

    def key(knobs: dict[str, Any]) -> str:
        return prepared_cache.cache_key(build_job(spec.model_copy(update={"knobs": knobs}), tmp_path), dataset)

    default_key = key(spec.knobs)
    for setting in describe_knobs(load_method(method).knobs):
        changed_setting = different_value(setting, spec.knobs.get(setting["name"], setting["default"]))
        key_changed = key(spec.knobs | {setting["name"]: changed_setting}) != default_key
        assert key_changed == (setting["affects"] == "rows"), setting["name"]


def knobs_that_keep_rows(method: str, knobs: dict[str, Any]) -> dict[str, Any]:
    """Every setting that is declared not to affect rows gets a different value, unless it contradicts another setting."""
    for setting in describe_knobs(load_method(method).knobs):
        if setting["affects"] != "rows" and setting["name"] not in EXCLUDED_SETTINGS:
            changed_knobs = knobs | {
                setting["name"]: different_value(setting, knobs.get(setting["name"], setting["default"]))
            }
            try:
                knobs = load_method(method).knobs.model_validate(changed_knobs).model_dump(exclude_none=True)
            except ValidationError:  # contradicts another setting
                continue
    return knobs


@pytest.mark.parametrize("method", ROWS_OF_CACHED_METHODS)
def test_settings_declared_not_to_affect_rows_leave_prepared_rows_unchanged(method: str, tmp_path: Path) -> None:
    from app.engine.libraries import prepare_libraries
    from app.engine.preview.preview_job import preview_job
    from app.engine.preview.run_estimate import build_weightless_trainer

    prepare_libraries()
    spec = build_spec(
        method, write_rows(tmp_path / "rows.jsonl", ROWS_OF_CACHED_METHODS[method](40)), adapter={"kind": "none"}
    )
    other_knobs = knobs_that_keep_rows(method, spec.knobs)
    assert sum(other_knobs.get(name) != spec.knobs.get(name) for name in {*other_knobs, *spec.knobs}) > 12

    def prepared_rows(knobs: dict[str, Any]) -> list[dict[str, Any]]:
        trainer = build_weightless_trainer(preview_job(spec.model_copy(update={"knobs": knobs}), None))
        return list(trainer.train_dataset)

    default_rows = prepared_rows(spec.knobs)
    assert default_rows
    assert prepared_rows(other_knobs) == default_rows
