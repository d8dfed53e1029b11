"""Presets: ready-made Specs to start from, one commented TOML file each."""

from __future__ import annotations

import tomllib
from typing import TypedDict

from app.core import paths, registry
from app.core.json_types import JsonObject
from app.planning.library_names import with_own_names
from app.planning.resolve import resolve
from app.setup.spec import PRESET_FIELDS, Spec, parse_spec


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


def _preset_text(name: str) -> str:
    """The file of a preset. Raises Problem for an unknown name."""
    registry.require_known("presets", name)
    return (paths.ROOT / "presets" / f"{name}.toml").read_text(encoding="utf-8")
