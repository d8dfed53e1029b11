"""Initialisation of LoRA: PiSSA and others learn as PEFT's do, begin as the plain model, and work on it when reloaded."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from app.core.problems import Problem
from app.planning.preflight import check_spec
from app.setup.adapter import Adapter
from tests.in_process import POCKET, build_job, logged_losses, logits, preview_batches, save_moe_model, train_job
from tests.support import build_spec, write_rows


def base_logits(tokenizer: Any) -> Any:
    from app.engine.model.load_model import load_base_model

    return logits(load_base_model("causal", str(POCKET), None).eval(), tokenizer)


def largest_difference(left: Any, right: Any) -> float:
    return float((left - right).abs().max())


INITS = [
    ({"init": "pissa"}, 8, 16),
    ({"init": "pissa_niter_4", "kind": "rslora", "dropout": 0.1}, 8, 8 * 2**0.5),
    ({"init": "olora", "kind": "dora"}, 8, 16),
    ({"init": "pissa", "unfreeze": ["model.norm"]}, 8, 16),
    ({"init": "orthogonal"}, 4, 8),
    ({"init": "gaussian"}, 4, 8),
]


@pytest.mark.slow
@pytest.mark.parametrize(("adapter", "stored_rank", "stored_alpha"), INITS)
def test_an_initialised_adapter_begins_and_ends_as_an_adapter_of_the_plain_base(adapter: dict[str, Any], stored_rank: int, stored_alpha: float, tmp_path: Path) -> None:  # fmt: skip
    from app.engine.model.load_model import load_tuned

    job = build_job(tmp_path, adapter={"r": 4, "alpha": 8} | adapter, weight_decay=0.1)
    trainer, expected = job.method.build(job), base_logits(job.tokenizer)
    assert largest_difference(logits(trainer.model.eval(), job.tokenizer), expected) < 1e-4
    lora_b = next(weight for name, weight in trainer.model.named_parameters() if "lora_B" in name).clone()
    assert bool(lora_b.any()) == (adapter["init"] != "gaussian")
    trainer.train()
    assert logged_losses(trainer)[-1] < logged_losses(trainer)[0]
    trainer.save_model(str(tmp_path / "adapter"))
    trained = logits(trainer.model.eval(), job.tokenizer)
    assert largest_difference(trained, expected) > 0.1
    with trainer.model.disable_adapter():
        assert largest_difference(logits(trainer.model, job.tokenizer), expected) == 0.0, (
            "the reference is the plain base"
        )
    reloaded, tokenizer = load_tuned(tmp_path / "adapter")
    assert largest_difference(logits(reloaded, tokenizer), trained) < 1e-4
    config = json.loads((tmp_path / "adapter" / "adapter_config.json").read_text())
    assert (config["r"], config["lora_alpha"]) == (stored_rank, pytest.approx(stored_alpha))


@pytest.mark.slow
@pytest.mark.parametrize("init", ["pissa", "olora"])
def test_it_learns_as_pefts_own_which_changes_the_base(init: str, tmp_path: Path) -> None:
    """The same steps by plain PEFT on the residual base, with the same batches."""
    from peft import LoraConfig, get_peft_model
    from transformers import set_seed

    from app.engine.model.load_model import load_base_model

    losses = {}
    for name in ("ours", "peft"):
        job = build_job(
            tmp_path / name,
            adapter={"r": 4, "alpha": 8, "init": init if name == "ours" else "default"},
            weight_decay=0.0,
        )
        if name == "peft":
            config = LoraConfig(
                r=4, lora_alpha=8, init_lora_weights=init, target_modules=job.peft_config.target_modules
            )  # type: ignore[arg-type]
            job.__dict__["model"] = get_peft_model(load_base_model("causal", str(POCKET), None), config)
            job.__dict__["peft_config"] = None
        trainer = job.method.build(job)
        set_seed(7)  # the order of the rows: the initialisations drew different amounts
        trainer.train()
        losses[name] = logged_losses(trainer)
    assert losses["ours"] == pytest.approx(losses["peft"], rel=1e-3)
    assert losses["ours"][-1] < losses["ours"][0]


@pytest.mark.slow
@pytest.mark.parametrize("model", [{}, {"quantization": "nf4"}])
def test_a_resumed_run_with_frozen_halves_learns_the_same(model: dict[str, Any], tmp_path: Path) -> None:
    import torch
    from transformers import TrainerCallback

    from app.engine.model.load_model import load_tuned

    class SaveAtStepTwo(TrainerCallback):
        def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> Any:
            control.should_save = state.global_step == 2
            return control

    def build_trainer() -> Any:
        job = build_job(tmp_path, model, {"r": 4, "alpha": 8, "init": "pissa_niter_4"}, weight_decay=0.1)
        job.callbacks.append(SaveAtStepTwo())
        return job.method.build(job)

    uninterrupted = build_trainer()
    uninterrupted.train()
    resumed = build_trainer()
    for name, weight in resumed.model.named_parameters():
        if "lora_" in name:
            weight.data += 0.01  # another machine computes other initial weights
    resumed.train(resume_from_checkpoint=str(tmp_path / "checkpoints" / "checkpoint-2"))
    weights = dict(uninterrupted.model.named_parameters())
    assert all(
        torch.equal(weight, weights[name]) for name, weight in resumed.model.named_parameters() if "lora_" in name
    )
    checkpoint, tokenizer = load_tuned(tmp_path / "checkpoints" / "checkpoint-2")  # as in a chat with a checkpoint
    assert largest_difference(logits(checkpoint, tokenizer), base_logits(tokenizer)) > 0.05


@pytest.mark.slow
def test_training_goes_on_from_the_stored_form(tmp_path: Path) -> None:
    from app.engine.model.load_model import real_model

    spec = Adapter(r=4, alpha=8, init="pissa")
    first = train_job(build_job(tmp_path / "first", adapter=spec.model_dump()))
    start_from = {"start_from": str(tmp_path / "first" / "adapter")}
    second = build_job(tmp_path / "second", start_from, spec.as_stored.model_dump())
    assert (
        largest_difference(logits(real_model(second).eval(), second.tokenizer), logits(first.model, second.tokenizer))
        < 1e-4
    )
    with pytest.raises(Problem, match="keeps its weights, and this setup asks for new ones that begin as pissa"):
        preview_batches(build_job(tmp_path / "third", start_from, spec.as_stored.model_dump() | {"init": "pissa"}))


@pytest.mark.slow
def test_loftq_makes_up_for_what_four_bits_lose(tmp_path: Path) -> None:
    from app.engine.model.load_model import load_tuned

    job = build_job(tmp_path, {"quantization": "nf4"}, {"r": 64, "alpha": 64, "init": "loftq"})
    trainer, expected = job.method.build(job), base_logits(job.tokenizer)
    with_adapter = largest_difference(logits(trainer.model.eval(), job.tokenizer), expected)
    with trainer.model.disable_adapter():
        without_adapter = largest_difference(logits(trainer.model, job.tokenizer), expected)
    assert with_adapter < 0.7 * without_adapter
    trainer.train()
    assert logged_losses(trainer)[-1] < logged_losses(trainer)[0]
    trainer.save_model(str(tmp_path / "adapter"))
    reloaded, tokenizer = load_tuned(tmp_path / "adapter")
    assert largest_difference(logits(reloaded, tokenizer), logits(trainer.model.eval(), tokenizer)) < 1e-3


@pytest.mark.parametrize(("adapter", "expected_text"), [
    ({"init": "orthogonal", "r": 5}, "needs an even rank, and this one is 5. Set the rank to 6."),
    ({"init": "loftq"}, "here they are held as they are. Hold the frozen weights as nf4"),
    ({"init": "pissa", "r": 65}, "begins as pissa cannot have a rank of 65: the smallest layer has 64 directions. Set the rank to at most 64"),
])  # fmt: skip
def test_an_initialisation_that_cannot_be_is_refused(adapter: dict[str, Any], expected_text: str, tmp_path: Path) -> None:  # fmt: skip
    with pytest.raises(Problem) as refusal:
        preview_batches(build_job(tmp_path, adapter=adapter))
    assert expected_text in str(refusal.value)


@pytest.mark.slow
def test_stacks_of_experts_begin_as_nothing(tmp_path: Path) -> None:
    folder = save_moe_model(tmp_path / "mixture")
    adapter = {"experts": ["mlp.experts.down_proj"], "init": "pissa"}
    with pytest.raises(Problem, match="Stacks of experts cannot carry an adapter that begins as pissa"):
        preview_batches(build_job(tmp_path, {"id": str(folder)}, adapter))


@pytest.mark.parametrize("knobs", [{}, {"precompute_reference": True}])
def test_loftq_is_refused_where_the_start_is_the_reference(knobs: dict[str, Any], tmp_path: Path) -> None:
    source = write_rows(tmp_path / "pairs.jsonl", [{"prompt": "Hello", "chosen": "Good day", "rejected": "What"}] * 8)
    adapter, model = {"init": "loftq"}, {"quantization": "nf4"}
    with pytest.raises(Problem, match="compares with the model before training, which LoftQ"):
        check_spec(build_spec("dpo", source, {"steps": 2} | knobs, model=model, adapter=adapter))


def test_the_library_name_and_its_default_are_accepted() -> None:
    assert Adapter.model_validate({"init_lora_weights": True}) == Adapter()
    assert Adapter.model_validate({"init_lora_weights": "pissa"}).init == "pissa"
