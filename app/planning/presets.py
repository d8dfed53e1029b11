"""Presets: ready-made Specs to start from, one commented TOML file each."""

from __future__ import annotations

import tomllib
from typing import Any

from app.core import paths, registry
from app.planning.library_names import with_own_names
from app.planning.resolve import resolve
from app.setup.spec import PRESET_FIELDS, Spec, parse_spec


def describe_preset(name: str) -> dict[str, Any]:
    """{"name", "title", "method", "sentence", "minutes", "needs"} of a preset. Raises Problem for an unknown name."""
    data = _read_preset_file(name)
    return {"name": name} | {key: data[key] for key in ("title", "method", *PRESET_FIELDS)}


def list_presets() -> list[dict[str, Any]]:
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
    fields = {key: value for key, value in _read_preset_file(name).items() if key not in PRESET_FIELDS}
    return parse_spec(with_own_names(fields))


def _read_preset_file(name: str) -> dict[str, Any]:
    registry.require_known("presets", name)
    return tomllib.loads((paths.ROOT / "presets" / f"{name}.toml").read_text(encoding="utf-8"))
