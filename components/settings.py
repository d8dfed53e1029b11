"""The form of a setup, drawn in the browser from the declarations of presets, methods and rewards."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import gradio as gr

from app.core import paths, platform, registry
from app.core.validation import library_names
from app.data.conversations import messages
from app.data.findings import compatible_methods
from app.data.reading import uploads
from app.data.source_title import sample_descriptions
from app.engine.contracts import load_method, load_reward
from app.planning import presets
from app.setup import models
from app.setup.adapter import Adapter
from app.setup.common_settings import COMMON_SETTINGS
from app.setup.knob import describe_knobs
from components import scripts
from components.plan import SHIPPED_MODELS
from components.theme import launch_demo
from components.tokens import LEARNING_MODES, learning_mode_of

FIRST_PRESET = "first_tune"  # preset of the landing page's first button; also fills the form at first
_MAX_EVERYDAY_SETTINGS = 6  # of one method; its other settings are under Advanced


def build_settings_form(*server_functions: Callable[..., Any]) -> gr.HTML:
    """The form; its value is the chosen setup as a dict.

    server_functions: called by the scripts, see app/server/views/choose.py. The template contains no value, so foreign
    text cannot become HTML or code: the scripts draw with textContent.
    """
    return gr.HTML(
        presets.unresolved_preset_spec(FIRST_PRESET).to_dict(),
        html_template='<div class="setup"></div>',
        apply_default_css=False,
        elem_id="setup",
        js_on_load=scripts.on_load("settings"),
        server_functions=list(server_functions),
        menu=settings_menu(),
    )


@cache
def settings_menu() -> dict[str, Any]:
    """Everything that the form offers. The folders are the registry of presets, methods, rewards and layouts."""
    return {
        "presets": [
            {
                **entry,
                "setup": presets.unresolved_preset_spec(entry["name"]).to_dict(),
                "bound": presets.bound_settings(entry["name"]),
            }
            for entry in _ordered_presets()
        ],
        "goals": {name: {"title": title, "sentence": sentence} for name, (title, sentence) in presets.GOALS.items()},
        "methods": {name: method_entry(name) for name in registry.names("methods")},
        "rewards": {name: _reward_entry(name) for name in registry.names("rewards")},
        "families": {
            name: {"title": title, "sentence": sentence}
            for name, (title, sentence, _) in compatible_methods.METHOD_FAMILIES.items()
        },
        "samples": [{"source": f"sample:{name}"} | description for name, description in sample_descriptions().items()],
        "columns": {
            name: {"title": column.title, "often": column.aliases}
            for name, column in compatible_methods.COLUMN_SPECS.items()
        },
        "layouts": {name: _layout_entry(name) for name in registry.names("layouts")},
        "roles": messages.STANDARD_ROLES,
        "formats": models.chat_template_names(),
        "local": platform.takes_local_files(),
        "shipped": [_shipped_model_entry(name) for name in models.SHIPPED_MODELS],
        "first": FIRST_PRESET,
        "common": [
            setting | _library_name_entry(setting) | {"id": f"setup-{setting['name']}"} for setting in COMMON_SETTINGS
        ],
        "kinds": uploads.ACCEPTED_SUFFIXES,
        "most": uploads.MAX_UPLOAD_BYTES,
    }


def _ordered_presets() -> list[presets.PresetDescription]:
    """The first preset, then the others in their usual order."""
    return sorted(presets.list_presets(), key=lambda entry: entry["name"] != FIRST_PRESET)


def everyday_settings(method_name: str) -> list[dict[str, Any]]:
    """Descriptions of a method's settings that most people change, at most _MAX_EVERYDAY_SETTINGS."""
    return [setting for setting in describe_knobs(load_method(method_name).knobs) if setting.get("everyday")][
        :_MAX_EVERYDAY_SETTINGS
    ]


def method_entry(method_name: str) -> dict[str, Any]:
    """A method for the form: title, sentence, accepted layouts, and its settings with their paths in a setup."""
    method = load_method(method_name)
    everyday_names = {setting["name"] for setting in everyday_settings(method_name)}
    settings = [
        setting
        | {
            "path": f"knobs.{setting['name']}",
            "id": f"{method_name}-{setting['name']}",
            "everyday": setting["name"] in everyday_names,
        }
        for setting in _setting_entries(method.knobs)
    ]
    return {
        "title": method.title,
        "term": method.term,
        "sentence": method.sentence.strip(),
        "layouts": method.row_types,
        "family": method.family,
        "order": compatible_methods.rank_in_family(method_name),
        "experimental": method.experimental,
        "way": learning_mode_of(method),
        "noun": LEARNING_MODES[learning_mode_of(method)].row_noun,
        "rewarded": method.needs_rewards,
        "fields": settings,
    }


def _layout_entry(layout_name: str) -> dict[str, Any]:
    """A layout for the form: its row type, its required columns and its optional ones."""
    module = registry.load_module("layouts", layout_name)
    return {"title": module.TITLE, "kind": module.KIND, "needs": module.NEEDS, "may": getattr(module, "MAY", ())}


def _library_name_entry(setting: dict[str, Any]) -> dict[str, str]:
    """The library's name of an adapter's setting, as the Spec declares it; empty for what the libraries call the same."""
    group, _, name = setting["path"].rpartition(".")
    own_to_library = {own: library for library, own in library_names(Adapter).items()} if group == "adapter" else {}
    return {"library_name": own_to_library[name]} if name in own_to_library else {}


def _shipped_model_entry(model_name: str) -> dict[str, Any]:
    """A model that comes with Tunesmith. base: it can be trained; others are only teachers."""
    title, sentence = SHIPPED_MODELS.get(model_name, (model_name, ""))
    is_trainable = (paths.ROOT / "presets" / model_name / "config.json").exists()
    return {"id": model_name, "title": title, "sentence": sentence, "base": is_trainable}


def _reward_entry(reward_name: str) -> dict[str, Any]:
    reward = load_reward(reward_name)
    return {"title": reward.title, "sentence": reward.sentence.strip(), "fields": _setting_entries(reward.params)}


def _setting_entries(settings_class: type) -> list[dict[str, Any]]:
    """Descriptions of declared settings for the form. A list is edited as lines; empty entries are left out."""
    type_names = {"list": "lines"}
    return [
        {key: value for key, value in setting.items() if value not in (None, "")}
        | {"type": type_names.get(setting["type"], setting["type"])}
        for setting in describe_knobs(settings_class)
    ]


if __name__ == "__main__":
    launch_demo(build_settings_form)
