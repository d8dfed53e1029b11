"""Model: each way to train is saved whole and answers the same when it is loaded anew, also on a base held in few bits."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from app.core.problems import Problem
from app.engine.model.device import Device
from tests.in_process import job_of, logits, losses, previewed, trained
from tests.support import spec_of

WAYS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
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
@pytest.mark.parametrize("way", WAYS)
def test_each_way_learns_and_its_result_answers_the_same(way: str, tmp_path: Path) -> None:
    from app.engine.model.load_model import load_tuned

    model, adapter = WAYS[way]
    trainer = trained(job_of(tmp_path, model, adapter))
    assert losses(trainer)[-1] < losses(trainer)[0] - 0.3
    loaded, tokenizer = load_tuned(tmp_path / "adapter")
    assert float((logits(trainer.model, tokenizer) - logits(loaded, tokenizer)).abs().max()) < 1e-4


# -- in few bits ---------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_weights_in_few_bits_take_less_memory_and_are_counted_whole(tmp_path: Path) -> None:
    """The matrices take 4 bytes a number, in 8 bits one, in 4 bits half a byte and a little for the sizes of blocks."""
    from app.engine.model import quantization
    from app.engine.model.load_model import real_model

    sizes, counts = {}, {}
    for kind in ("none", "int8", "nf4"):
        model = real_model(job_of(tmp_path, {"quantization": kind}))
        matrices = [weight for name, weight in model.named_parameters() if "_proj" in name]
        sizes[kind] = sum(one.numel() * one.element_size() + quantization.scale_bytes(one) for one in matrices)
        counts[kind] = sum(size for size, _ in quantization.count_parameters(model))
    assert sizes["none"] > 7.5 * sizes["nf4"]
    assert sizes["none"] > 3.9 * sizes["int8"]
    assert len(set(counts.values())) == 1


@pytest.mark.slow
def test_a_test_on_the_way_leaves_the_slope_whole(tmp_path: Path) -> None:
    """bitsandbytes would lay weights out anew at the first evaluation, and pass no gradient through them from then on."""
    import torch

    job = job_of(tmp_path, {"quantization": "nf4"})
    trainer = job.method.build(job)
    batch = next(iter(trainer.get_train_dataloader()))

    def slope() -> dict[str, Any]:
        trainer.model.train()
        trainer.model.zero_grad()
        trainer.compute_loss(trainer.model, dict(batch)).backward()
        return {name: p.grad.clone() for name, p in trainer.model.named_parameters() if p.grad is not None and "lora_B" in name}  # fmt: skip

    before = slope()
    trainer.model.eval()
    with torch.no_grad():
        trainer.model(**{name: batch[name] for name in ("input_ids", "attention_mask")})
    after = slope()
    assert before
    assert all(torch.equal(before[name], after[name]) for name in before)


@pytest.mark.slow
def test_a_run_beside_few_bits_resumes_as_if_undisturbed(tmp_path: Path) -> None:
    from transformers import TrainerCallback

    class SaveAtTwo(TrainerCallback):
        def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> Any:
            control.should_save = state.global_step == 2
            return control

    def build() -> Any:
        job = job_of(tmp_path, {"quantization": "nf4", "new_tokens": ["<auth>"]})
        job.callbacks.append(SaveAtTwo())
        return job.method.build(job)

    whole = build()
    whole.train()
    resumed = build()  # only now: a run draws its order from the seed that building sets
    resumed.train(resume_from_checkpoint=str(tmp_path / "checkpoints" / "checkpoint-2"))
    assert losses(resumed) == pytest.approx(losses(whole), rel=1e-6)


@pytest.mark.slow
def test_an_adapter_answers_on_the_base_it_was_trained_beside_and_loads_on_a_full_one(tmp_path: Path) -> None:  # fmt: skip
    from peft import AutoPeftModelForCausalLM

    from app.engine.model.load_model import load_tuned

    trainer = trained(job_of(tmp_path, {"quantization": "nf4"}))
    folder = tmp_path / "adapter"
    assert json.loads((folder / "tunesmith.json").read_text()) == {"quantization": "nf4"}
    loaded, tokenizer = load_tuned(folder)
    assert loaded.get_base_model().is_loaded_in_4bit
    full = AutoPeftModelForCausalLM.from_pretrained(folder).eval()
    apart = float((logits(full, tokenizer) - logits(trainer.model, tokenizer)).abs().max())
    assert 0.05 < apart < 5, "it answers differently there, which is why the result remembers"


@pytest.mark.slow
def test_the_looks_before_training_need_no_weights_in_few_bits(tmp_path: Path) -> None:
    import torch

    shown = previewed(job_of(tmp_path, {"quantization": "nf4"}, {"unfreeze": ["layers.3"]}))
    plain = previewed(job_of(tmp_path))
    assert torch.equal(shown[0]["labels"], plain[0]["labels"])


def test_a_model_from_nothing_is_held_as_it_is(tmp_path: Path) -> None:
    from app.engine.job import Job

    spec = spec_of("pretrain", "sample:diary", {"from_scratch": True}, model={"quantization": "nf4"})
    with pytest.raises(Problem, match="begins from nothing has no weights to hold as nf4"):
        _ = Job(spec, tmp_path, Device("cpu"), preview=True).model
