"""Settings under the names that TRL, PEFT and transformers have for them: read as ours, so that a Spec only holds ours."""

from __future__ import annotations

from collections.abc import Iterable

from pydantic import BaseModel

from app.core import registry
from app.core.json_types import JsonObject, JsonValue
from app.core.problems import Problem
from app.core.validation import library_names, rename_library_fields
from app.engine.contracts import load_method
from app.setup import spec as specs
from app.setup.set_value import set_value


def with_own_names(setup: JsonObject) -> JsonObject:
    """A copy of the plain data of a Spec with our names for all settings. Raises Problem where both names are given."""
    renamed_groups = {
        group: rename_library_fields(fields, values)
        for group, fields in _setting_groups(setup).items()
        if isinstance(values := setup.get(group), dict)
    }
    return setup | renamed_groups


def change_settings(setup: JsonObject, changes: Iterable[tuple[str, JsonValue]]) -> JsonObject:
    """A copy of the plain data of a Spec with each `a.b.c` set to its value, in this order, under our names.

    A change replaces the setting under whichever name the setup has it. Raises Problem when a path leads nowhere, and
    when two changes set one setting under two names.
    """
    changes = list(changes)
    method = next((value for path, value in reversed(changes) if path == "method"), setup.get("method"))
    groups = _setting_groups({"method": method})
    changed_setup = with_own_names(setup | {"method": method}) if method is not None else setup
    typed_paths: dict[str, str] = {}
    for path, value in changes:
        own_path = _own_path(path, groups)
        if typed_paths.setdefault(own_path, path) != path:
            raise Problem(
                f"“{typed_paths[own_path]}” and “{path}” are two names of one setting, and both are given.",
                advice="Leave one of them out.",
            )
        changed_setup = set_value(changed_setup, own_path, value)
    return with_own_names(changed_setup)


def _setting_groups(setup: JsonObject) -> dict[str, type[BaseModel]]:
    """The groups of a setup whose fields may have a library's name. An unknown method is left to who resolves the Spec."""
    method = setup.get("method")
    groups: dict[str, type[BaseModel]] = {"adapter": specs.Adapter}
    if isinstance(method, str) and method in registry.names("methods"):
        groups["knobs"] = load_method(method).knobs
    return groups


def _own_path(path: str, groups: dict[str, type[BaseModel]]) -> str:
    """The path with our name of the setting."""
    group, _, name = path.partition(".")
    return f"{group}.{library_names(groups[group]).get(name, name)}" if group in groups and name else path
