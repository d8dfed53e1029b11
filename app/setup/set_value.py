"""Reading and changing one setting of a Spec, or of other plain data, by its path."""

from __future__ import annotations

from collections.abc import Mapping

from app.core.json_types import JsonObject, JsonValue
from app.core.problems import Problem, shorten
from app.core.validation import deep_copy, require_max_depth


def set_value(data: JsonObject, path: str, value: JsonValue) -> JsonObject:
    """A copy of plain data with the value at a path such as `a.b.0.c` replaced.

    Raises Problem when there is no such place.
    """
    changed = {key: deep_copy(child, 1) for key, child in data.items()}
    parent: JsonValue = changed
    *parent_keys, last_key = path.split(".")
    require_max_depth(len(parent_keys))
    for key in parent_keys:
        parent = _child_at(parent, key, path)
    if isinstance(parent, list):
        parent[_list_index(last_key, parent, path)] = deep_copy(value)
    elif isinstance(parent, dict):
        parent[last_key] = deep_copy(value)
    else:
        raise Problem(
            f"“{path}” leads nowhere: “{last_key}” is not inside a group of settings.",
            advice="Look at `schema` for the names.",
        )
    return changed


def set_values(data: JsonObject, changes: Mapping[str, JsonValue]) -> JsonObject:
    """`set_value` for several paths, one after the other."""
    for path, value in changes.items():
        data = set_value(data, path, value)
    return data


def value_at(data: JsonValue, path: str) -> JsonValue:
    """The value at a path such as `a.b.c` through groups; None where there is none."""
    for key in path.split("."):
        data = data.get(key) if isinstance(data, dict) else None
    return data


def _child_at(parent: JsonValue, key: str, path: str) -> JsonValue:
    if isinstance(parent, dict):
        return parent.setdefault(key, {})
    if isinstance(parent, list):
        return parent[_list_index(key, parent, path)]
    raise Problem(
        f"“{path}” leads nowhere: “{key}” is not inside a group of settings.", advice="Look at `schema` for the names."
    )


def _list_index(key: str, items: list[JsonValue], path: str) -> int:
    if key.isascii() and key.isdigit() and len(key) < 10 and int(key) < len(items):
        return int(key)
    raise Problem(
        f"“{shorten(path, 80)}” leads nowhere: the list has {len(items)} entries, counted from 0.",
        advice="Choose one of them.",
    )
