"""Folders of models that strangers made: nothing in them is run, fetched or waited for."""

from __future__ import annotations

import json
import shutil
import struct
from pathlib import Path
from typing import Any

import pytest

from app.core.paths import ROOT
from app.core.problems import Problem
from app.engine.model.load_model import load_base_model
from app.engine.model.model_config import load_config
from app.hub.staging import licence_of_card
from app.setup import models

POCKET = ROOT / "presets" / "pocket"
PROGRAM = "from pathlib import Path\nPath(__file__).with_name('has-run').touch()\n"


def altered_pocket(folder: Path, name: str = "config.json", **fields: Any) -> Path:
    """A copy of the practice model with these fields in one of its files."""
    shutil.copytree(POCKET, folder)
    path = folder / name
    path.write_text(json.dumps(json.loads(path.read_text()) | fields))
    return folder


@pytest.mark.parametrize("kernel", ["someone/attention", "kernels-community/flash-attn2@0123abc", "paged|a/b:forward"])
def test_compiled_kernels_that_a_model_names_are_not_fetched(kernel: str, tmp_path: Path) -> None:
    folder = altered_pocket(tmp_path / "model", attn_implementation=kernel)
    assert load_config(str(folder), None)._attn_implementation is None
    model = load_base_model("causal", str(folder), None)  # raises where it would fetch the kernel
    assert "/" not in model.config._attn_implementation


@pytest.mark.parametrize(("name", "fields"), [
    ("config.json", {"auto_map": {"AutoConfig": "program.A", "AutoModelForCausalLM": "program.A"}}),
    ("tokenizer_config.json", {"auto_map": {"AutoTokenizer": ["program.A", "program.A"]}}),
    ("generation_config.json", {"custom_generate": "."}),
])  # fmt: skip
def test_programs_beside_a_model_are_not_run(name: str, fields: dict[str, Any], tmp_path: Path) -> None:
    folder = altered_pocket(tmp_path / "model", name, **fields)
    for path in (folder / "program.py", folder / "custom_generate" / "generate.py"):
        path.parent.mkdir(exist_ok=True)
        path.write_text(PROGRAM)
    load_base_model("causal", str(folder), None)
    assert not [*folder.rglob("has-run")]


def test_an_index_cannot_load_weights_from_outside_of_its_folder(tmp_path: Path) -> None:
    folder = altered_pocket(tmp_path / "model")
    (folder / "model.safetensors").rename(tmp_path / "private.safetensors")
    weight_map = {"model.embed_tokens.weight": "../private.safetensors"}
    (folder / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": weight_map}))
    assert models.count_parameters(models.Model(id=str(folder))) is None


@pytest.mark.parametrize("header", [
    b'{"a":' + b"[" * 100_000 + b"]" * 100_000 + b"}", b"[1]", b'{"a": {"shape": "long"}}', b'{"a": {}}',
], ids=lambda header: header[:24])  # fmt: skip
def test_a_hostile_header_of_weights_is_said_to_be_damaged(header: bytes, tmp_path: Path) -> None:
    file = tmp_path / "model.safetensors"
    file.write_bytes(struct.pack("<Q", len(header)) + header)
    with pytest.raises(Problem, match="is damaged"):
        models.read_tensor_sizes(file)


@pytest.mark.parametrize("metadata", [
    "license: 2026-13-45", "license: !!int x", "license: !!timestamp x", "a: " + "[" * 20_000,
    "license: !!python/object/apply:os.system ['true']", "license: &a [*a]", "license: mit\\n",
], ids=lambda metadata: metadata[:24])  # fmt: skip
def test_the_card_of_a_base_model_cannot_break_publishing(metadata: str, tmp_path: Path) -> None:
    (tmp_path / "README.md").write_text(f"---\n{metadata}\n---\n")
    assert licence_of_card(tmp_path / "README.md") is None
