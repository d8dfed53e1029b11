"""Knobs: one line declares a setting, and the form, the check and the help all follow from it."""

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


def test_a_setting_is_described_in_full() -> None:
    assert describe_knobs(Oven)[0] == {
        "name": "heat", "title": "Heat", "sentence": "How hot it gets.", "default": 180.0, "type": "float",
        "low": 50, "high": 250, "safe": None, "unit": "°C", "log": False, "everyday": True, "choices": None, "picks": "",
        "empty": "", "library_name": "", "affects": "training",
    }  # fmt: skip


def test_settings_keep_the_order_of_their_lines_and_get_the_control_they_need() -> None:
    assert [(one["name"], one["type"]) for one in describe_knobs(Oven)] == [
        ("heat", "float"), ("trays", "int"), ("crust", "choice"), ("seeds", "list"), ("steam", "bool"), ("name", "str"),
    ]  # fmt: skip


def test_a_title_is_the_name_unless_given() -> None:
    assert [one["title"] for one in describe_knobs(Oven)] == [
        "Heat",
        "Trays",
        "Crust",
        "Seeds",
        "Steam at the start",
        "Name",
    ]


@pytest.mark.parametrize(("name", "value", "fine"), [
    ("heat", 50, True), ("heat", 250, True), ("heat", 49.999, False), ("heat", 250.001, False), ("heat", float("nan"), False),
    ("heat", float("inf"), False), ("trays", 1, True), ("trays", 4, True), ("trays", 0, False), ("trays", 5, False),
    ("trays", 1.5, False), ("trays", None, True), ("crust", "medium", False), ("flour", 1, False),
])  # fmt: skip
def test_a_range_is_enforced_with_both_ends(name: str, value: object, fine: bool) -> None:
    if fine:
        assert getattr(Oven.model_validate({name: value}), name) == value
    else:
        with pytest.raises(ValidationError):
            Oven.model_validate({name: value})


def test_yes_is_not_a_number() -> None:
    """A true that slipped in for a count would quietly mean one."""
    with pytest.raises(ValidationError):
        Oven.model_validate({"trays": True})


def test_settings_cannot_be_changed_once_made() -> None:
    oven = Oven()
    with pytest.raises(ValidationError):
        oven.heat = 200
