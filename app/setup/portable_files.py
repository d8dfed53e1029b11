"""Saved model files that other versions of transformers read as well.

Version 5 writes some settings that version 4 refuses, and renames some that version 4 then silently replaces by its
defaults.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from app.core.json_types import JsonObject

_BACKEND_CLASS, _PORTABLE_CLASS = "TokenizersBackend", "PreTrainedTokenizerFast"
_MACHINE_SETTINGS = ("backend", "is_local", "local_files_only")  # of the machine that saved, or unknown to version 4
# Name of a rotary embedding's base in version 4, by the type of layers that version 5 stores it under.
_BASE_NAMES = {"full_attention": "rope_theta", "sliding_attention": "rope_local_base_freq"}


def make_portable(folder: Path) -> None:
    """Rewrites the configuration of model and tokenizer in a folder, where they are there."""
    for name, rewrite in (("tokenizer_config.json", _portable_tokenizer), ("config.json", _portable_config)):
        path = folder / name
        if path.is_file():
            data = json.loads(path.read_text(encoding="utf-8"))
            text = json.dumps(rewrite(data), indent=2, ensure_ascii=False)
            path.write_text(text + "\n", encoding="utf-8")


def _portable_tokenizer(data: JsonObject) -> JsonObject:
    portable: dict[str, Any] = {name: value for name, value in data.items() if name not in _MACHINE_SETTINGS}
    if portable.get("tokenizer_class") == _BACKEND_CLASS:
        portable["tokenizer_class"] = _PORTABLE_CLASS
        # version 4 would also make token types, which language models refuse
        portable.setdefault("model_input_names", ["input_ids", "attention_mask"])
    if isinstance(portable.get("extra_special_tokens"), list):  # version 4 expects names for these
        portable["additional_special_tokens"] = portable.pop("extra_special_tokens")
    return portable


def _portable_config(data: JsonObject) -> JsonObject:
    """Also of the language model within a vision model's."""
    nested = {name: _portable_config(value) for name, value in data.items() if isinstance(value, dict)}
    portable: dict[str, Any] = data | {name: nested[name] for name in nested if name.endswith("_config")}
    rope = data.get("rope_parameters")
    if not isinstance(rope, dict):
        return portable
    by_layer_type = {name: value for name in _BASE_NAMES if isinstance(value := rope.get(name), dict)}
    for layer_type, parameters in (by_layer_type or {"full_attention": rope}).items():
        portable.setdefault(_BASE_NAMES[layer_type], parameters.get("rope_theta"))
        scaling = {name: value for name, value in parameters.items() if name != "rope_theta"}
        if layer_type == "full_attention" and scaling.get("rope_type", "default") != "default":
            portable.setdefault("rope_scaling", scaling)
    return {name: value for name, value in portable.items() if value is not None or name in data}
