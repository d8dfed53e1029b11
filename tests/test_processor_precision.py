"""Precision on a processor: `auto` is bfloat16 for large models where a measurement shows that it is faster, and stays what it was."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from app.core.processor_speed import MIN_PARAMETERS, read_bfloat16_speedup, store_bfloat16_speedup
from app.core.workspace import local_workspace
from app.engine.model.processor_precision import bfloat16_speedup
from app.planning import launcher
from app.planning.memory.device_memory import read_device_memory
from app.setup.models import locate_model
from tests.support import build_spec, run_losses, text_rows, train, wait_for_run, write_rows

SLOW, FAST = 1.0, 3.0


@pytest.fixture
def large_model(tmp_path: Path) -> str:
    """A folder with the configuration of a model of more than MIN_PARAMETERS, and the tokenizer of the practice model."""
    folder = Path(shutil.copytree(locate_model("pocket"), tmp_path / "large"))
    (folder / "model.safetensors").unlink()
    config = json.loads((folder / "config.json").read_text())
    sizes = {"hidden_size": 512, "num_hidden_layers": 14, "intermediate_size": 2048}
    heads = {"num_attention_heads": 8, "num_key_value_heads": 8, "head_dim": 64}
    layers = {"layer_types": ["full_attention"] * 14, "max_window_layers": 14}
    (folder / "config.json").write_text(json.dumps(config | sizes | heads | layers))
    return str(folder)


def precision_of(tmp_path: Path, model: str, *, setting: str = "auto", preview: bool = False) -> str:
    from app.engine.job import Job
    from app.engine.model.device import Device

    source = write_rows(tmp_path / "texts.jsonl", text_rows(8))
    knobs = {"precision": setting, "from_scratch": True}
    spec = build_spec("pretrain", source, knobs, model={"id": model}, adapter={"kind": "none"})
    return Job(spec, tmp_path, Device("cpu"), preview=preview).knobs.precision


def test_auto_is_what_was_measured_for_large_models_alone(tmp_path: Path, large_model: str) -> None:
    store_bfloat16_speedup(local_workspace(), FAST)
    assert precision_of(tmp_path, large_model) == "bf16"
    assert precision_of(tmp_path, large_model, setting="fp32") == "fp32"
    assert precision_of(tmp_path, large_model, preview=True) == "auto"
    assert precision_of(tmp_path, "pocket") == "auto"
    store_bfloat16_speedup(local_workspace(), SLOW)
    assert precision_of(tmp_path, large_model) == "fp32"


def test_the_speedup_is_measured_once_and_kept() -> None:
    assert read_bfloat16_speedup(local_workspace()) is None
    measured = bfloat16_speedup(local_workspace())
    assert measured > 0
    assert read_bfloat16_speedup(local_workspace()) == measured
    store_bfloat16_speedup(local_workspace(), FAST)
    assert bfloat16_speedup(local_workspace()) == FAST


@pytest.mark.parametrize(("speedup", "expected"), [(None, False), (SLOW, False), (FAST, True)])
def test_estimates_know_what_auto_will_be(speedup: float | None, expected: bool) -> None:
    if speedup is not None:
        store_bfloat16_speedup(local_workspace(), speedup)
    device = read_device_memory("cpu")
    assert device is not None
    assert device.half_precision(MIN_PARAMETERS) is expected
    assert not device.half_precision(MIN_PARAMETERS - 1)


@pytest.mark.slow
def test_the_choice_is_stored_with_the_run_and_holds_when_it_goes_on(tmp_path: Path, large_model: str) -> None:
    store_bfloat16_speedup(local_workspace(), FAST)
    source = write_rows(tmp_path / "texts.jsonl", text_rows(8))
    knobs: dict[str, Any] = {"from_scratch": True, "steps": 3, "batch_size": 2, "max_length": 32}
    run = train(build_spec("pretrain", source, knobs, model={"id": large_model}, adapter={"kind": "none"}))
    assert run.spec.knobs["precision"] == "bf16"
    store_bfloat16_speedup(local_workspace(), SLOW)  # as on another machine
    launcher.extend_run(run, 2)
    wait_for_run(run)
    assert (run.spec.knobs["precision"], len(run_losses(run))) == ("bf16", 5)
