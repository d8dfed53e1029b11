"""Settings: a method's everyday knobs as a form, drawn from their declarations."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import gradio as gr

from app import rooms
from app.engine.knob import describe
from components.look import alone

MOST = 6  # everyday settings of one method; the rest waits under Advanced


def everyday(method: str) -> list[dict[str, Any]]:
    """The few knobs that most people change."""
    return [knob for knob in describe(rooms.load("methods", method).Knobs) if knob.get("everyday")][:MOST]


def form(method: str, values: dict[str, Any]) -> dict[str, gr.components.Component]:
    """{knob's name: the component that asks for it}, drawn in the current container."""
    return {knob["name"]: draw(knob, values.get(knob["name"]), method) for knob in everyday(method)}


def draw(knob: dict[str, Any], value: Any, method: str) -> gr.components.Component:
    """Ranges are told, not enforced here: one place refuses, with one sentence."""
    common = {"value": value, "label": knob["title"], "info": sentence(knob), "elem_id": f"{method}-{knob['name']}"}
    if knob.get("choices"):
        options = [(f"{name.capitalize()}: {what}", name) for name, what in knob["choices"].items()]
        return gr.Dropdown(options, filterable=False, **common)
    if knob["type"] == "bool":
        return gr.Checkbox(**common)
    if knob["type"] in ("int", "float"):
        return gr.Number(step=step_of(knob, value), placeholder="automatic", **common)
    return gr.Textbox(**common)


def sentence(knob: dict[str, Any]) -> str:
    """What it does, and the range with its unit."""
    if knob.get("low") is None:
        return knob["sentence"]
    unit = f" {knob['unit']}" if knob.get("unit") else ""
    return f"{knob['sentence']} {in_full(knob['low'])} to {in_full(knob['high'])}{unit}."


def in_full(number: float) -> str:
    """1,000,000 and 0.0000001: nobody has to read powers of ten."""
    return f"{Decimal(repr(number)).normalize():,f}"


def step_of(knob: dict[str, Any], value: float | None) -> float:
    """What the arrow keys add: one, or one of the value's leading digit."""
    if knob["type"] == "int" or not value:
        return 1
    return float(Decimal(1).scaleb(min(0, Decimal(repr(value)).adjusted())))


def example() -> None:
    with gr.Column(elem_classes="settings"):
        form("sft", {"learning_rate": 0.002, "epochs": 3.0, "batch_size": 8, "max_length": 256, "learn_from": "auto"})


if __name__ == "__main__":
    alone(example)
