"""Model: every combination of quantization, adapter and added tokens trains, and gives the same logits after saving and loading."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from app.core.problems import Problem
from app.engine.model.device import Device
from tests.in_process import build_job, logged_losses, logits, preview_batches, train_job
from tests.support import build_spec

MODEL_AND_ADAPTER_SETTINGS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "lora": ({}, {}),
    "dora": ({}, {"kind": "dora"}),
    "rslora": ({}, {"kind": "rslora"}),
    "nf4": ({"quantization": "nf4"}, {}),
    "fp4": ({"quantization": "fp4"}, {}),
    "int8": ({"quantization": "int8"}, {}),
    "nf4 and layers whole": ({"quantization": "nf4"}, {"unfreeze": ["layers.3.mlp"]}),
    "layers whole": ({}, {"unfreeze": ["layers.3", "model.norm"]}),
    "embeddings whole": ({}, {"unfreeze": ["embed_tokens"]}),
    "some layers alone": ({}, {"kind": "none", "unfreeze": ["layers.*.mlp"]}),
    "new words": ({"new_tokens": ["<auth>", "<billing>"]}, {}),
    "new words and embeddings whole": (
        {"new_tokens": [f"<{i}>" for i in range(6)], "embedding_multiple": 8},
        {"unfreeze": ["embed_tokens"]},
    ),
    "new words and some layers alone": ({"new_tokens": ["<auth>"]}, {"kind": "none", "unfreeze": ["layers.3"]}),
}


@pytest.mark.slow
@pytest.mark.first_cases(4)
@pytest.mark.parametrize("setup", MODEL_AND_ADAPTER_SETTINGS)
def test_each_setup_learns_and_gives_the_same_logits_after_loading(setup: str, tmp_path: Path) -> None:
    from app.engine.model.load_model import load_tuned

    model, adapter = MODEL_AND_ADAPTER_SETTINGS[setup]
    trainer = train_job(build_job(tmp_path, model, adapter))
    assert logged_losses(trainer)[-1] < logged_losses(trainer)[0] - 0.3
    loaded_model, tokenizer = load_tuned(tmp_path / "adapter")
    assert float((logits(trainer.model, tokenizer) - logits(loaded_model, tokenizer)).abs().max()) < 1e-4


# -- quantization --------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_quantized_weights_use_less_memory_and_all_parameters_are_counted(tmp_path: Path) -> None:
    """Bytes per weight of the matrices: 4 in fp32, 1 in int8, and in nf4 half a byte plus the scales of the blocks."""
    from app.engine.model import quantization
    from app.engine.model.load_model import real_model

    matrix_bytes, parameter_counts = {}, {}
    for kind in ("none", "int8", "nf4"):
        model = real_model(build_job(tmp_path, {"quantization": kind}))
        matrices = [weight for name, weight in model.named_parameters() if "_proj" in name]
        matrix_bytes[kind] = sum(
            weight.numel() * weight.element_size() + quantization.scale_bytes(weight) for weight in matrices
        )
        parameter_counts[kind] = sum(count for count, _ in quantization.count_parameters(model))
    assert matrix_bytes["none"] > 7.5 * matrix_bytes["nf4"]
    assert matrix_bytes["none"] > 3.9 * matrix_bytes["int8"]
    assert len(set(parameter_counts.values())) == 1


@pytest.mark.full
@pytest.mark.slow
def test_an_evaluation_does_not_change_the_gradients_of_a_quantized_model(tmp_path: Path) -> None:
    """bitsandbytes would repack the weights at the first evaluation, and no gradient would flow through them afterwards."""
    import torch

    job = build_job(tmp_path, {"quantization": "nf4"})
    trainer = job.method.build(job)
    batch = next(iter(trainer.get_train_dataloader()))

    def lora_b_gradients() -> dict[str, Any]:
        trainer.model.train()
        trainer.model.zero_grad()
        trainer.compute_loss(trainer.model, dict(batch)).backward()
        return {name: parameter.grad.clone() for name, parameter in trainer.model.named_parameters() if parameter.grad is not None and "lora_B" in name}  # fmt: skip

    gradients_before = lora_b_gradients()
    trainer.model.eval()
    with torch.no_grad():
        trainer.model(**{name: batch[name] for name in ("input_ids", "attention_mask")})
    gradients_after = lora_b_gradients()
    assert gradients_before
    assert all(torch.equal(gradients_before[name], gradients_after[name]) for name in gradients_before)


@pytest.mark.full
@pytest.mark.slow
def test_a_quantized_run_resumes_with_the_losses_of_an_uninterrupted_one(tmp_path: Path) -> None:
    from transformers import TrainerCallback

    class SaveAtStepTwo(TrainerCallback):
        def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> Any:
            control.should_save = state.global_step == 2
            return control

    def build_trainer() -> Any:
        job = build_job(tmp_path, {"quantization": "nf4", "new_tokens": ["<auth>"]})
        job.callbacks.append(SaveAtStepTwo())
        return job.method.build(job)

    uninterrupted = build_trainer()
    uninterrupted.train()
    resumed = build_trainer()  # not earlier: building sets the seed of the row order
    resumed.train(resume_from_checkpoint=str(tmp_path / "checkpoints" / "checkpoint-2"))
    assert logged_losses(resumed) == pytest.approx(logged_losses(uninterrupted), rel=1e-6)


@pytest.mark.slow
def test_an_adapter_is_loaded_on_its_quantized_base_and_also_fits_the_full_one(tmp_path: Path) -> None:  # fmt: skip
    from peft import AutoPeftModelForCausalLM

    from app.engine.model.load_model import load_tuned

    trainer = train_job(build_job(tmp_path, {"quantization": "nf4"}))
    folder = tmp_path / "adapter"
    assert json.loads((folder / "tunesmith.json").read_text()) == {"quantization": "nf4"}
    loaded_model, tokenizer = load_tuned(folder)
    assert loaded_model.get_base_model().is_loaded_in_4bit
    unquantized_model = AutoPeftModelForCausalLM.from_pretrained(folder).eval()
    largest_difference = float((logits(unquantized_model, tokenizer) - logits(trainer.model, tokenizer)).abs().max())
    assert 0.05 < largest_difference < 5, "the logits differ without quantization, so the saved result must record it"


@pytest.mark.slow
def test_previews_do_not_need_quantized_weights(tmp_path: Path) -> None:
    import torch

    quantized_batches = preview_batches(build_job(tmp_path, {"quantization": "nf4"}, {"unfreeze": ["layers.3"]}))
    unquantized_batches = preview_batches(build_job(tmp_path))
    assert torch.equal(quantized_batches[0]["labels"], unquantized_batches[0]["labels"])


def test_a_model_from_scratch_cannot_be_quantized(tmp_path: Path) -> None:
    from app.engine.job import Job

    spec = build_spec("pretrain", "sample:diary", {"from_scratch": True}, model={"quantization": "nf4"})
    with pytest.raises(Problem, match="begins from nothing has no weights to hold as nf4"):
        _ = Job(spec, tmp_path, Device("cpu"), preview=True).model
