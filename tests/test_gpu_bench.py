"""The GPU bench: without a card each part is named as not run, and a part measures what it says, here on a processor."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from app.engine.model.device import Device
from tests.bench import gpu
from tests.memory_cases import MemoryCase
from tests.memory_models import random_model


def test_without_a_card_each_part_is_named_as_not_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gpu, "_card_name", lambda: "")
    machine, *parts = gpu.run(tmp_path)
    assert machine["part"].startswith("no NVIDIA card")
    assert "transformers" in machine["result"]
    assert {part["part"]: part["result"] for part in parts} == dict.fromkeys(gpu.CASES, "not run: no NVIDIA card")


def test_a_part_whose_package_is_missing_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gpu, "_card_name", lambda: "a card")
    monkeypatch.setattr(
        gpu.importlib.util, "find_spec", lambda name: None if name in ("flash_attn", "kernels") else True
    )
    rows = gpu.run(tmp_path, ["sft, packed, flash attention"])
    assert rows[1]["result"] == "not run: flash_attn or kernels is not installed"


def test_a_part_measures_its_steps(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gpu, "random_weights", lambda name, folder, device: random_model(folder, "small llama"))
    monkeypatch.setattr(gpu, "STEPS", 3)
    monkeypatch.setitem(
        gpu.CASES, "tiny", gpu.GpuCase("", MemoryCase("sft", "messages", {"batch_size": 2, "max_length": 64}))
    )
    row: dict[str, Any] = gpu.measure_part("tiny", tmp_path, Device("cpu"))
    assert float(row["tokens a second"].replace(",", "")) > 0
    assert row["of what the card computes"].endswith("%")
    assert " to " in row["estimate, GB"]
