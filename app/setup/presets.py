"""Presets: a starting Spec a person can read, one commented TOML file each."""

from __future__ import annotations

import tomllib
from typing import Any

from app.core import registry
from app.planning.resolve import resolve
from app.setup.spec import PRESET_ONLY, Spec, read


def about(name: str) -> dict[str, Any]:
    """name, title, sentence, minutes, needs, method. Raises Problem for an unknown name."""
    data = load(name)
    return {"name": name} | {key: data[key] for key in ("title", "method", *PRESET_ONLY)}


def every() -> list[dict[str, Any]]:
    """All presets, quickest first."""
    return sorted(map(about, registry.choices("presets")), key=lambda preset: (preset["minutes"], preset["name"]))


def spec(name: str) -> Spec:
    """The preset's Spec, with every setting filled in."""
    return resolve(spec_unresolved(name))


def spec_unresolved(name: str) -> Spec:
    """The Spec as the file says it: what it leaves out still follows from what is changed."""
    return read({key: value for key, value in load(name).items() if key not in PRESET_ONLY})


def load(name: str) -> dict[str, Any]:
    registry.require("presets", name)
    return tomllib.loads((registry.ROOT / "presets" / f"{name}.toml").read_text(encoding="utf-8"))
