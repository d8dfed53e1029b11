"""Presets: ready-made Specs to start from, one commented TOML file each.

Those for practice use the practice model and the samples. Those for real work have a goal and the size of the smallest
graphics card that they fit on.
"""

from __future__ import annotations

import tomllib
from typing import TypedDict

from app.core import paths, registry
from app.core.json_types import JsonObject
from app.engine.contracts import load_method
from app.planning.library_names import with_own_names
from app.planning.resolve import resolve
from app.setup.models import count_parameters
from app.setup.spec import PRESET_FIELDS, Spec, parse_spec

# Settings whose right value depends on how long the examples are.
_LENGTH_SETTINGS = ("max_length", "max_completion_length", "eval_length")


# What presets for real work are for, in the order of the page: title, and one sentence.
GOALS = {
    "support": ("Answer customers", "It learns from questions and the answers that your team gave."),
    "extraction": ("Turn texts into JSON", "It learns to read a text and to write down what a program needs of it."),
    "tone": ("Write in your tone", "It learns how you write; what it knows stays."),
    "tools": ("Call tools", "It learns which tool helps, and with which arguments."),
    "maths": ("Solve word problems", "It tries several answers, and does more of what came to the right number."),
    "preferences": (
        "Give the answers people prefer",
        "It learns from pairs of a better and a worse answer, or from thumbs.",
    ),
    "judges": (
        "Judge answers",
        "It learns to score: a reward for a model that tries, or a check of what another wrote.",
    ),
    "vision": ("Answer about pictures", "It learns from pictures with questions and answers."),
    "reading": ("Know a field", "It reads running text until it knows the words and how they are used."),
    "distillation": ("Make a large model small", "A small model copies, word by word, what a larger one would say."),
}


class BoundSettings(TypedDict):
    """Paths of what a preset sets for its own model, and for its own examples: with others, nobody has set them."""

    model: list[str]
    data: list[str]


class PresetDescription(TypedDict):
    """What a preset trains.

    minutes: about how long it takes with the practice model; None for real work, where it depends on the card. needs:
    the hardware, in words. goal: a name in GOALS, empty for practice. gigabytes: of the smallest graphics card that it
    fits on, None where any computer will do. own_examples: its examples are there to be replaced, so that those of a
    person stay when they choose it.
    """

    name: str
    title: str
    method: str
    sentence: str
    minutes: float | None
    needs: str
    goal: str
    gigabytes: int | None
    own_examples: bool


def describe_preset(name: str) -> PresetDescription:
    """The description of a preset. Raises Problem for an unknown name."""
    fields = tomllib.loads(_preset_text(name))
    return {
        "name": name,
        "title": fields["title"],
        "method": fields["method"],
        "sentence": fields["sentence"],
        "minutes": fields.get("minutes"),
        "needs": fields.get("needs") or describe_card(fields["gigabytes"]),
        "goal": fields.get("goal", ""),
        "gigabytes": fields.get("gigabytes"),
        "own_examples": fields.get("own_examples", False),
    }


def describe_card(gigabytes: int) -> str:
    """The hardware in words."""
    return f"A graphics card with {gigabytes} GB"


def list_presets() -> list[PresetDescription]:
    """`describe_preset` of all presets: those for practice, quickest first, then those for real work by goal and card."""
    goals = ["", *GOALS]
    return sorted(
        map(describe_preset, registry.names("presets")),
        key=lambda preset: (
            goals.index(preset["goal"]),
            preset["minutes"] or 0,
            preset["gigabytes"] or 0,
            preset["name"],
        ),
    )


def preset_spec(name: str) -> Spec:
    """The Spec of a preset, with every setting filled in. Raises Problem for an unknown name."""
    return resolve(unresolved_preset_spec(name))


def unresolved_preset_spec(name: str) -> Spec:
    """The Spec as the file has it: settings that it leaves out still follow the defaults of the method when others
    change."""
    fields: JsonObject = tomllib.loads(_preset_text(name))
    return parse_spec(with_own_names({key: child for key, child in fields.items() if key not in PRESET_FIELDS}))


def bound_settings(name: str) -> BoundSettings:
    """The settings of a preset that belong to its model (those for which its method has a default by size) or to its
    examples. Raises Problem for an unknown name."""
    spec = unresolved_preset_spec(name)
    automatic = load_method(spec.method).defaults(spec.adapter.kind, count_parameters(spec.model))
    return {
        "model": [f"knobs.{knob}" for knob in spec.knobs if knob in automatic],
        "data": ["title", "prompts", *(f"knobs.{knob}" for knob in _LENGTH_SETTINGS if knob in spec.knobs)],
    }


def preset_for(name: str, spec: Spec) -> Spec:
    """The preset as `unresolved_preset_spec` has it, without what it sets for its own model or examples where this Spec has
    others. So a learning rate that was found for the practice model does not outlive it."""
    preset, bound = unresolved_preset_spec(name), bound_settings(name)
    trains_all = spec.adapter.kind == "none", preset.adapter.kind == "none"
    has_its_model = spec.model.id == preset.model.id and trains_all[0] == trains_all[1]
    has_its_data = spec.data[0].source == preset.data[0].source
    dropped = {*(() if has_its_model else bound["model"]), *(() if has_its_data else bound["data"])}
    knobs = {knob: value for knob, value in preset.knobs.items() if f"knobs.{knob}" not in dropped}
    return preset.model_copy(update={"knobs": knobs} | ({} if has_its_data else {"title": "", "prompts": []}))


def _preset_text(name: str) -> str:
    """The file of a preset. Raises Problem for an unknown name."""
    registry.require_known("presets", name)
    return (paths.ROOT / "presets" / f"{name}.toml").read_text(encoding="utf-8")
