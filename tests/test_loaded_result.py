"""A run's result answers in the precision in which it was trained."""

from __future__ import annotations

from pathlib import Path

import pytest

from app.engine.generation.loaded_result import load_result, on_device
from app.runs.store import Run
from tests.support import build_spec, conversation_rows, train, write_rows

pytestmark = pytest.mark.slow


def weight_types(run: Run) -> tuple[str, str, str]:
    """(of the base's weights, of the adapter's, of the logits that a forward gives inside)."""
    model, tokenizer = load_result(run.id)
    named = dict(model.named_parameters())
    base = next(weight for name, weight in named.items() if "base_layer" in name)
    adapter = next(weight for name, weight in named.items() if "lora_A" in name)
    with on_device(model):
        logits = model(**tokenizer("Hello", return_tensors="pt")).logits
    return tuple(str(tensor.dtype).removeprefix("torch.") for tensor in (base, adapter, logits))  # type: ignore[return-value]


def test_it_computes_as_it_was_trained_and_in_fp32_where_a_processor_has_no_such_precision(tmp_path: Path) -> None:
    source = write_rows(tmp_path / "rows.jsonl", conversation_rows(16))
    run = train(build_spec("sft", source, {"steps": 2, "batch_size": 4, "precision": "bf16"}))
    assert weight_types(run) == ("bfloat16", "float32", "bfloat16")
    for precision in ("fp32", "auto", "fp16"):
        knobs = run.spec.knobs | {"precision": precision}
        (run.path / "spec.json").write_text(run.spec.model_copy(update={"knobs": knobs}).to_json())
        assert weight_types(run) == ("float32", "float32", "float32"), precision
