"""Portable files: what is saved reads alike in transformers 4 and 5. The bench `elsewhere` loads results with version 4 itself."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from transformers import AutoConfig, AutoTokenizer, Gemma3TextConfig, LlamaConfig, Qwen3Config

from app.core.paths import ROOT
from app.setup.portable_files import make_portable

LLAMA3_ROPE = {
    "rope_type": "llama3",
    "rope_theta": 500_000.0,
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 8192,
}
SIZES = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}


def saved(config: Any, folder: Path) -> dict[str, Any]:
    """config.json of a folder that was made portable; version 5 reads it as it was."""
    config.save_pretrained(folder)
    before = AutoConfig.from_pretrained(folder).to_dict()
    make_portable(folder)
    assert AutoConfig.from_pretrained(folder).to_dict() == before
    return json.loads((folder / "config.json").read_text())


def test_the_base_of_rotary_embeddings_has_both_names(tmp_path: Path) -> None:
    data = saved(LlamaConfig(rope_parameters={"rope_type": "default", "rope_theta": 100_000.0}, **SIZES), tmp_path)
    assert data["rope_theta"] == data["rope_parameters"]["rope_theta"] == 100_000.0
    assert "rope_scaling" not in data
    assert saved(Qwen3Config(**SIZES), tmp_path)["rope_theta"] == 10_000.0


def test_scaled_rotary_embeddings_have_both_names(tmp_path: Path) -> None:
    data = saved(LlamaConfig(rope_parameters=LLAMA3_ROPE, **SIZES), tmp_path)
    assert data["rope_theta"] == 500_000.0
    assert data["rope_scaling"] == {name: value for name, value in LLAMA3_ROPE.items() if name != "rope_theta"}


def test_rotary_embeddings_by_type_of_layer_have_both_names(tmp_path: Path) -> None:
    rope = {
        "full_attention": {"rope_type": "linear", "rope_theta": 1e6, "factor": 8.0},
        "sliding_attention": {"rope_type": "default", "rope_theta": 1e4},
    }
    data = saved(Gemma3TextConfig(rope_parameters=rope, **SIZES), tmp_path)
    assert (data["rope_theta"], data["rope_local_base_freq"]) == (1e6, 1e4)
    assert data["rope_scaling"] == {"rope_type": "linear", "factor": 8.0}


def test_a_configuration_within_another_is_rewritten_too(tmp_path: Path) -> None:
    inner = {"rope_parameters": {"rope_type": "default", "rope_theta": 7.0}}
    (tmp_path / "config.json").write_text(json.dumps({"text_config": inner, "other": {"a": 1}}))
    make_portable(tmp_path)
    data = json.loads((tmp_path / "config.json").read_text())
    assert data == {"text_config": inner | {"rope_theta": 7.0}, "other": {"a": 1}}


@pytest.mark.parametrize("name", ["pocket", "pocket-vision"])
def test_a_saved_tokenizer_names_no_class_that_version_4_lacks(name: str, tmp_path: Path) -> None:
    tokenizer = AutoTokenizer.from_pretrained(ROOT / "presets" / name)
    tokenizer.add_special_tokens({"additional_special_tokens": ["<mine>"]})
    tokenizer.save_pretrained(tmp_path)
    text = "One <mine> two.<|im_end|>"
    make_portable(tmp_path)
    data = json.loads((tmp_path / "tokenizer_config.json").read_text())
    assert data["tokenizer_class"] != "TokenizersBackend"
    if data["tokenizer_class"] == "PreTrainedTokenizerFast":  # by default it makes token types in version 4
        assert data["model_input_names"] == ["input_ids", "attention_mask"]
    assert not {"backend", "is_local", "local_files_only"} & data.keys()
    assert not isinstance(data.get("extra_special_tokens"), list)
    again = AutoTokenizer.from_pretrained(tmp_path)
    assert again(text).input_ids == tokenizer(text).input_ids
    assert again.all_special_tokens == tokenizer.all_special_tokens
    make_portable(tmp_path / "nothing-here")
