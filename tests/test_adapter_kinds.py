"""Adapters beside LoRA: each learns, is saved, reloads, resumes exactly and is gone on from; what PEFT lacks is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from app.core.problems import Problem
from tests.in_process import build_job, logged_losses, logits, preview_batches, save_moe_model

KINDS: dict[str, dict[str, Any]] = {
    "ia3": {"kind": "ia3"},
    "ia3 beside 4 bits": {"kind": "ia3"},
    "loha": {"kind": "loha", "r": 4, "alpha": 8},
    "oft": {"kind": "oft", "r": 8},
    "oft beside 4 bits": {"kind": "oft", "r": 8},
    "vera": {"kind": "vera", "r": 64, "dropout": 0.0},
    "fourierft": {"kind": "fourierft"},
    "lokr": {"kind": "lokr", "r": 4, "alpha": 8, "unfreeze": ["model.norm"], "targets": "layers.*.mlp.*"},
}


@pytest.mark.slow
@pytest.mark.parametrize("case", KINDS)
def test_another_kind_learns_reloads_resumes_and_goes_on(case: str, tmp_path: Path) -> None:
    import torch
    from transformers import TrainerCallback

    from app.engine.model.load_model import load_tuned, real_model

    adapter, model = KINDS[case], {"quantization": "nf4"} if "4 bits" in case else {}

    class SaveAtStepTwo(TrainerCallback):
        def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> Any:
            control.should_save = state.global_step == 2
            return control

    def build_trainer() -> Any:
        job = build_job(tmp_path, model, adapter, learning_rate=5e-2 if adapter["kind"] == "vera" else 1e-2)
        job.callbacks.append(SaveAtStepTwo())
        return job.method.build(job)

    uninterrupted = build_trainer()
    tokenizer = uninterrupted.processing_class
    before = logits(uninterrupted.model.eval(), tokenizer)
    with uninterrupted.model.disable_adapter():
        assert torch.equal(before, logits(uninterrupted.model, tokenizer)), "it begins as the plain base"
    uninterrupted.train()
    assert logged_losses(uninterrupted)[-1] < logged_losses(uninterrupted)[0]
    uninterrupted.save_model(str(tmp_path / "adapter"))
    trained = logits(uninterrupted.model.eval(), tokenizer)
    assert float((trained - before).abs().max()) > 0.1

    resumed = build_trainer()
    resumed.train(resume_from_checkpoint=str(tmp_path / "checkpoints" / "checkpoint-2"))
    weights = dict(uninterrupted.model.named_parameters())
    assert all(torch.equal(weight, weights[name]) for name, weight in resumed.model.named_parameters())

    assert float((logits(load_tuned(tmp_path / "adapter")[0], tokenizer) - trained).abs().max()) < 1e-4
    earlier = {name: setting for name, setting in adapter.items() if name in ("kind", "r", "alpha")}
    job = build_job(tmp_path, model | {"start_from": str(tmp_path / "adapter")}, earlier)
    assert float((logits(real_model(job).eval(), tokenizer) - trained).abs().max()) < 1e-4
    with pytest.raises(Problem, match=f"is of the kind {adapter['kind']}.*and this setup asks for lora with rank 16"):
        preview_batches(build_job(tmp_path, model | {"start_from": str(tmp_path / "adapter")}))


@pytest.mark.parametrize(("adapter", "model", "conflict"), [
    ({"kind": "loha", "dropout": 0.1}, {}, "dropout"),
    ({"kind": "ia3"}, {"new_tokens": ["<auth>"]}, "new tokens"),
    ({"kind": "lokr"}, {"quantization": "nf4"}, "weights held as nf4"),
    ({"kind": "fourierft"}, {"quantization": "int8"}, "weights held as int8"),
    ({"kind": "oft", "dropout": 0.1}, {}, "dropout"),
    ({"kind": "ia3", "init": "gaussian"}, {}, "an initialisation as gaussian"),
])  # fmt: skip
def test_what_only_lora_has_is_refused_by_name(adapter: dict[str, Any], model: dict[str, Any], conflict: str, tmp_path: Path) -> None:  # fmt: skip
    with pytest.raises(Problem) as refusal:
        preview_batches(build_job(tmp_path, model, adapter))
    assert f"An adapter of the kind {adapter['kind']} cannot be combined with {conflict}." in str(refusal.value)


@pytest.mark.slow
def test_experts_of_another_kind_are_refused(tmp_path: Path) -> None:
    folder = save_moe_model(tmp_path / "mixture")
    with pytest.raises(Problem, match="kind ia3 cannot be combined with experts"):
        preview_batches(build_job(tmp_path, {"id": str(folder)}, {"kind": "ia3", "experts": ["mlp.experts.down_proj"]}))
