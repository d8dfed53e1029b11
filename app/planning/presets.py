"""Presets: ready-made Specs to start from, one commented TOML file each."""

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


class BoundSettings(TypedDict):
    """Paths of what a preset sets for its own model, and for its own examples: with others, nobody has set them."""

    model: list[str]
    data: list[str]


class PresetDescription(TypedDict):
    """What a preset trains. minutes: about how long it takes with the practice model. needs: the hardware, in words."""

    name: str
    title: str
    method: str
    sentence: str
    minutes: float
    needs: str


def describe_preset(name: str) -> PresetDescription:
    """The description of a preset. Raises Problem for an unknown name."""
    fields = tomllib.loads(_preset_text(name))
    return {
        "name": name,
        "title": fields["title"],
        "method": fields["method"],
        "sentence": fields["sentence"],
        "minutes": fields["minutes"],
        "needs": fields["needs"],
    }


def list_presets() -> list[PresetDescription]:
    """`describe_preset` of all presets, quickest first."""
    return sorted(
        map(describe_preset, registry.names("presets")), key=lambda preset: (preset["minutes"], preset["name"])
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
