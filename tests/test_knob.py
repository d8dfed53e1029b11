"""Knobs: one line declares a setting; its form field, its validation and its help text are generated from it."""

from __future__ import annotations

from typing import Literal

import pytest
from pydantic import ValidationError

from app.setup.knob import Knobs, describe_knobs, knob


class Oven(Knobs):
    heat: float = knob(180.0, "How hot it gets.", low=50, high=250, unit="°C", everyday=True)
    trays: int | None = knob(None, "How many trays; automatic by size.", low=1, high=4)
    crust: Literal["soft", "hard"] = knob("soft", "The crust.", choices={"soft": "Bends.", "hard": "Cracks."})
    seeds: list[str] = knob([], "What is strewn on top.")
    steam: bool = knob(False, "Adds steam.", title="Steam at the start")
    name: str = knob("", "What the loaf is called.")


def test_a_knob_description_has_all_fields() -> None:
    assert describe_knobs(Oven)[0] == {
        "name": "heat", "title": "Heat", "sentence": "How hot it gets.", "default": 180.0, "type": "float",
        "low": 50, "high": 250, "safe": None, "unit": "°C", "log": False, "everyday": True, "choices": None, "picks": "",
        "empty": "", "library_name": "", "affects": "training", "unused_with": None,
    }  # fmt: skip


def test_knobs_keep_their_declaration_order_and_get_a_control_type() -> None:
    assert [(description["name"], description["type"]) for description in describe_knobs(Oven)] == [
        ("heat", "float"), ("trays", "int"), ("crust", "choice"), ("seeds", "list"), ("steam", "bool"), ("name", "str"),
    ]  # fmt: skip


def test_the_title_defaults_to_the_name() -> None:
    assert [description["title"] for description in describe_knobs(Oven)] == [
        "Heat",
        "Trays",
        "Crust",
        "Seeds",
        "Steam at the start",
        "Name",
    ]


@pytest.mark.parametrize(("name", "value", "is_valid"), [
    ("heat", 50, True), ("heat", 250, True), ("heat", 49.999, False), ("heat", 250.001, False), ("heat", float("nan"), False),
    ("heat", float("inf"), False), ("trays", 1, True), ("trays", 4, True), ("trays", 0, False), ("trays", 5, False),
    ("trays", 1.5, False), ("trays", None, True), ("crust", "medium", False), ("flour", 1, False),
])  # fmt: skip
def test_a_range_includes_both_of_its_ends(name: str, value: object, is_valid: bool) -> None:
    if is_valid:
        assert getattr(Oven.model_validate({name: value}), name) == value
    else:
        with pytest.raises(ValidationError):
            Oven.model_validate({name: value})


def test_true_is_not_accepted_as_a_number() -> None:
    """True passed by mistake as a count would silently mean 1."""
    with pytest.raises(ValidationError):
        Oven.model_validate({"trays": True})


def test_knob_values_are_immutable() -> None:
    oven = Oven()
    with pytest.raises(ValidationError):
        oven.heat = 200
