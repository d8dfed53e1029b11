"""What a setting affects: it is declared once, and what is cached holds for as long as it is not affected."""

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
from tests.support import chats, preferences, spec_of, texts, thumbs, write_rows

if TYPE_CHECKING:
    from app.engine.job import Job

METHODS = registry.names("methods")
# Methods whose prepared rows are cached, with the rows that they are tried on.
CACHED: dict[str, Callable[[int], list[dict[str, Any]]]] = {
    "sft": chats,
    "pretrain": texts,
    "dpo": preferences,
    "kto": thumbs,
    "reward": preferences,
    "tpo": lambda count: [row | {"reference": row["chosen"]} for row in preferences(count)],
}
# Those cannot be tried beside the others: another device, and rows that are never prepared at once.
UNTRIED = {"optimizer", "streaming"}
EVERY_LOOP = {
    "order": {"batch_size", "accumulation"},
    "length": {"epochs", "steps"},
    "timing": {"optimizer", "precision", "checkpointing"},
    "training": {"learning_rate", "schedule", "warmup", "floor", "decay", "weight_decay", "max_grad_norm"},
    "evaluation": {"evaluations", "eval_answers", "eval_length", "saves", "save_minutes"},
}


def affecting(method: str, what: str) -> set[str]:
    return {setting["name"] for setting in describe_knobs(load_method(method).knobs) if setting["affects"] == what}


def job_of(spec: Spec, folder: Path) -> Job:
    from app.engine.job import Job
    from app.engine.model.device import Device

    return Job(spec, folder, Device("cpu"))


def other_value(setting: dict[str, Any], value: Any) -> Any:
    """Another value of its type, within its limits."""
    if setting["type"] == "bool":
        return not value
    if setting["type"] == "choice":
        return next(choice for choice in setting["choices"] if choice != value)
    if setting["type"] == "list":
        return [*value, "user"]
    if setting["type"] in ("int", "float"):
        return setting["low"] if value is None or value + 1 > setting["high"] else value + 1
    return f"{value} other"


@pytest.mark.parametrize("method", METHODS)
def test_every_setting_declares_what_it_affects(method: str) -> None:
    assert {setting["affects"] for setting in describe_knobs(load_method(method).knobs)} <= {*get_args(Affects)}
    for what, names in EVERY_LOOP.items():
        moved = {"batch_size", "accumulation"} if method == "kto" else set()
        assert names - moved <= affecting(method, what)


def test_settings_that_change_prepared_rows() -> None:
    assert affecting("sft", "rows") == {
        *("max_length", "packing", "packing_strategy", "chat_format", "template_arguments", "split_thoughts"),
        *("learn_from", "roles", "last_turn_only", "end_tokens", "response_template", "instruction_template"),
    }
    assert affecting("dpo", "rows") == affecting("reward", "rows") == affecting("tpo", "rows") == {"max_length"}
    assert affecting("kto", "rows") == {"max_length", "batch_size", "loss"}
    assert affecting("pretrain", "rows") == {"max_length", "packing"}


def test_a_setting_declared_again_affects_what_it_replaces() -> None:
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
def test_the_key_of_prepared_rows_changes_with_the_settings_that_change_rows(method: str, tmp_path: Path) -> None:
    from datasets import Dataset

    from app.engine.datasets import prepared_cache

    table, spec = (
        Dataset.from_dict({"text": ["a", "b"]}),
        resolve(parse_spec({"method": method, "data": [{"source": "sample:tickets"}]})),
    )

    def key(knobs: dict[str, Any]) -> str:
        return prepared_cache.cache_key(job_of(spec.model_copy(update={"knobs": knobs}), tmp_path), table)

    plain = key(spec.knobs)
    for setting in describe_knobs(load_method(method).knobs):
        value = other_value(setting, spec.knobs.get(setting["name"], setting["default"]))
        changed = key(spec.knobs | {setting["name"]: value}) != plain
        assert changed == (setting["affects"] == "rows"), setting["name"]


def other_settings(method: str, knobs: dict[str, Any]) -> dict[str, Any]:
    """The settings with another value of each that is declared not to change rows, as far as they go together."""
    for setting in describe_knobs(load_method(method).knobs):
        if setting["affects"] != "rows" and setting["name"] not in UNTRIED:
            changed = knobs | {setting["name"]: other_value(setting, knobs.get(setting["name"], setting["default"]))}
            try:
                knobs = load_method(method).knobs.model_validate(changed).model_dump(exclude_none=True)
            except ValidationError:  # it contradicts another
                continue
    return knobs


@pytest.mark.parametrize("method", CACHED)
def test_settings_that_are_declared_so_leave_the_prepared_rows_as_they_are(method: str, tmp_path: Path) -> None:
    from app.engine.libraries import prepare_libraries
    from app.engine.preview.preview_job import preview_job
    from app.engine.preview.run_estimate import build_weightless_trainer

    prepare_libraries()
    spec = spec_of(method, write_rows(tmp_path / "rows.jsonl", CACHED[method](40)), adapter={"kind": "none"})
    others = other_settings(method, spec.knobs)
    assert sum(others.get(name) != spec.knobs.get(name) for name in {*others, *spec.knobs}) > 12

    def prepared(knobs: dict[str, Any]) -> list[dict[str, Any]]:
        trainer = build_weightless_trainer(preview_job(spec.model_copy(update={"knobs": knobs}), None))
        return list(trainer.train_dataset)

    plain = prepared(spec.knobs)
    assert plain
    assert prepared(others) == plain
