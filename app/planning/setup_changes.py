"""How a setup differs from its preset, in words: the old and the new value of each setting, under its title on the page."""

from __future__ import annotations

import json
from typing import TypedDict

from app.core.json_types import JsonObject, JsonValue
from app.core.problems import shorten
from app.engine.contracts import load_method
from app.planning import presets
from app.planning.links import changed_paths
from app.planning.resolve import resolve, resolve_rewards
from app.setup.common_settings import COMMON_SETTINGS
from app.setup.knob import describe_knobs
from app.setup.set_value import value_at
from app.setup.spec import Spec

_VALUE_LENGTH = 120  # characters of a value that are shown
_GROUPS = ("title", "method", "model", "data", "holdout", "drop", "knobs", "adapter", "rewards", "prompts", "seed", "v")
_TITLES = {
    "method": "Lesson",
    "model.id": "Model",
    "model.revision": "Revision of the model",
    "model.template": "Chat format",
    "holdout.share": "Kept aside: a share of the examples",
    "holdout.split": "Kept aside: a split of the examples",
    "holdout.source": "Kept aside: examples of their own",
    "holdout.column": "Kept aside by a column",
    "holdout.value": "Kept aside where the column says",
    "drop": "Examples left out",
}


class SettingChange(TypedDict):
    """path: of the setting in a file. title: what the page calls it. before, after: the preset's value and this one."""

    path: str
    title: str
    before: str
    after: str


def describe_setup_changes(spec: Spec, preset: str) -> list[SettingChange]:
    """The settings of a resolved Spec that differ from the preset's, in the order of the form.

    Where the model or the method is another one, settings that nobody chose are as that model or method has them, and no
    difference.
    """
    base = presets.preset_for(preset, spec)
    start_knobs = base.knobs if base.method == spec.method else {}
    knobs = resolve(spec.model_copy(update={"knobs": start_knobs})).knobs
    base = base.model_copy(update={"knobs": knobs, "rewards": resolve_rewards(base)})
    before, after = _by_name(base), _by_name(spec)
    titles = _setting_titles(spec.method)
    changes: list[SettingChange] = [
        {
            "path": path,
            "title": _title(path, titles),
            "before": _in_words(path, value_at(before, path)),
            "after": _in_words(path, value_at(after, path)),
        }
        for path in changed_paths(before, after)
    ]
    return sorted(changes, key=lambda change: _GROUPS.index(change["path"].partition(".")[0]))


def _by_name(spec: Spec) -> JsonObject:
    """The fields of a Spec with its lists of groups as groups: sources by their number, rewards by their label."""
    sources: JsonObject = {str(number): source.model_dump() for number, source in enumerate(spec.data)}
    rewards: JsonObject = {reward.label or reward.name: reward.model_dump() for reward in spec.rewards}
    return spec.to_dict() | {"data": sources, "rewards": rewards}


def _setting_titles(method: str) -> dict[str, str]:
    knobs = {f"knobs.{knob['name']}": str(knob["title"]) for knob in describe_knobs(load_method(method).knobs)}
    return {str(setting["path"]): str(setting["title"]) for setting in COMMON_SETTINGS} | _TITLES | knobs


def _title(path: str, titles: dict[str, str]) -> str:
    if path in titles:
        return titles[path]
    group, name, *rest = path.split(".")
    subject = {"data": "Examples", "rewards": f"Reward “{name}”"}.get(group)
    if subject is None:
        return path
    detail = ".".join(rest).removeprefix("params.")
    return subject if detail in ("", "source") else f"{subject}: {detail.replace('_', ' ')}"


def _in_words(path: str, value: JsonValue) -> str:
    if path == "method":
        return load_method(str(value)).title
    if isinstance(value, dict) and ("source" in value or "name" in value):
        return str(value.get("source") or value.get("name"))
    if value is None or value in ("", [], {}):
        return "none"
    if isinstance(value, bool):
        return "on" if value else "off"
    if isinstance(value, float | int):
        return f"{value:,}" if isinstance(value, int) else f"{value:g}"
    if isinstance(value, list):
        return shorten(" · ".join(map(str, value)), _VALUE_LENGTH)
    return shorten(value if isinstance(value, str) else json.dumps(value, ensure_ascii=False), _VALUE_LENGTH)
