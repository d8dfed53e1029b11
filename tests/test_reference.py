"""Reference model: a continued run uses its start as the reference, which stays fixed or is synchronized, and is not saved."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

from app.planning.resolve import resolve
from app.setup.models import locate_model
from app.setup.spec import parse_spec
from tests.support import NO_EVALUATIONS_OR_SAVES, write_rows
from tests.test_preference import FULL_FINETUNING, ROW_BUILDERS, build_job


@pytest.fixture(scope="module")
def earlier_results(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Results to continue from: {"lora": an adapter, "none": a full model}."""
    results = {}
    for kind in ("lora", "none"):
        folder = tmp_path_factory.mktemp(kind)
        trainer = build_job("orpo", folder, knobs={"steps": 2, "learning_rate": 0.003}, adapter={"kind": kind})
        trainer = trainer.method.build(trainer)
        trainer.train()
        results[kind] = save_trained(trainer, folder / "result")
    return results


def save_trained(trainer: Any, folder: Path) -> Path:
    from app.engine.__main__ import save_model

    save_model(trainer, folder)
    return folder


def start_from_result(result: Path, home: Path) -> dict[str, Any]:
    """Copies the result into this test's home as a run, and returns the Spec's model settings that start from it."""
    shutil.copytree(result, home / "runs" / "earlier" / "adapter", dirs_exist_ok=True)
    return {"start_from": "run:earlier"}


LOG_2 = 0.6931471805599453  # the DPO loss of a model that equals its reference


@pytest.mark.slow
@pytest.mark.parametrize("method", ["dpo", "kto"])
@pytest.mark.parametrize("kind", ["lora", "none"])
def test_a_continued_run_uses_its_start_as_the_reference(method: str, kind: str, earlier_results: dict[str, Path], home: Path, tmp_path: Path) -> None:  # fmt: skip
    """With the base model as the reference, the first loss would not be log 2."""
    job = build_job(
        method,
        tmp_path,
        knobs={"steps": 1},
        adapter={"kind": kind},
        model=start_from_result(earlier_results[kind], home),
    )
    trainer = job.method.build(job)
    trainer.train()
    first_log = next(entry for entry in trainer.state.log_history if "loss" in entry)
    assert first_log["rewards/chosen"] == pytest.approx(0, abs=1e-6)
    assert first_log["rewards/rejected"] == pytest.approx(0, abs=1e-6)
    if method == "dpo":
        assert first_log["loss"] == pytest.approx(LOG_2, abs=1e-6)
    if kind == "none":
        assert trainer.ref_model is not None
        assert trainer.ref_model.dtype == trainer.model.dtype
        assert all(not weight.requires_grad or weight.grad is None for weight in trainer.ref_model.parameters())


@pytest.mark.full
@pytest.mark.slow
@pytest.mark.parametrize("precompute", [False, True])
def test_the_reference_of_a_continued_adapter_includes_its_new_tokens(precompute: bool, home: Path, tmp_path: Path) -> None:  # fmt: skip
    """For the reference, TRL copies all weights of a continued adapter except the new tokens."""
    rows = [row | {"rejected": f"<sigh> {row['rejected']}"} for row in ROW_BUILDERS["dpo"](16)]
    earlier_job = build_job(
        "orpo", tmp_path / "earlier", rows, {"steps": 2, "learning_rate": 0.01}, model={"new_tokens": ["<sigh>"]}
    )
    earlier_trainer = earlier_job.method.build(earlier_job)
    earlier_trainer.train()
    model = start_from_result(save_trained(earlier_trainer, tmp_path / "result"), home) | {"new_tokens": ["<sigh>"]}
    job = build_job("dpo", tmp_path, rows, {"steps": 1, "precompute_reference": precompute}, model=model)
    trainer = job.method.build(job)
    trainer.train()
    assert trainer.state.log_history[0]["loss"] == pytest.approx(LOG_2, abs=3e-7)


@pytest.mark.full
@pytest.mark.slow
@pytest.mark.parametrize("method", ["grpo", "rloo"])
@pytest.mark.parametrize("kind", ["lora", "none"])
def test_the_kl_reference_of_a_continued_model_includes_its_new_tokens(
    method: str, kind: str, home: Path, tmp_path: Path
) -> None:
    """TRL copies a continued adapter without its new tokens, and loads a full model by name, without the rows of new tokens."""
    adapter, new_token_settings = {"kind": kind}, {"new_tokens": ["<sum>"]}
    rows = [row | {"rejected": f"<sum> {row['rejected']}"} for row in ROW_BUILDERS["dpo"](16)]
    earlier_job = build_job(
        "orpo",
        tmp_path / "earlier",
        rows,
        {"steps": 2, "learning_rate": 0.01},
        adapter=adapter,
        model=new_token_settings,
    )
    earlier_trainer = earlier_job.method.build(earlier_job)
    earlier_trainer.train()
    prompt_rows = [{"prompt": f"<sum> What is {n} + 1?", "answer": str(n + 1)} for n in range(8)]
    knobs = {"steps": 1, "batch_size": 4, "attempts": 4, "max_completion_length": 4, "kl": 0.5, "skip_silent": False}
    model = start_from_result(save_trained(earlier_trainer, tmp_path / "result"), home) | new_token_settings
    job = build_job(
        method, tmp_path, prompt_rows, knobs, adapter=adapter, model=model, rewards=[{"name": "length_band"}]
    )
    trainer = job.method.build(job)
    trainer.train()
    assert next(entry["kl"] for entry in trainer.state.log_history if "kl" in entry) == pytest.approx(0, abs=1e-6)
    if kind == "none":
        policy_embeddings, reference_embeddings = (
            trainer.model.get_input_embeddings(),
            trainer.ref_model.get_input_embeddings(),
        )
        assert reference_embeddings.weight.shape == policy_embeddings.weight.shape


@pytest.mark.slow
@pytest.mark.parametrize("method", ["dpo", "kto"])
def test_a_saved_result_does_not_contain_the_reference_adapter(method: str, earlier_results: dict[str, Path], home: Path, tmp_path: Path) -> None:  # fmt: skip
    from app.engine.model.load_model import load_tuned

    job = build_job(method, tmp_path, knobs={"steps": 1}, model=start_from_result(earlier_results["lora"], home))
    trainer = job.method.build(job)
    trainer.train()
    trainer.save_model(str(tmp_path / "theirs"))
    assert (tmp_path / "theirs" / "ref").exists(), "TRL no longer saves the reference: its removal is no longer needed"
    save_trained(trainer, tmp_path / "ours")
    assert sorted(path.name for path in (tmp_path / "ours").iterdir()) == [
        "adapter_config.json", "adapter_model.safetensors", "chat_template.jinja", "tokenizer.json", "tokenizer_config.json"]  # fmt: skip
    model, _ = load_tuned(tmp_path / "ours")
    assert list(model.peft_config) == ["default"]


def train_and_get_losses(job: Any, stop_at: int | None = None, resume: bool = False) -> list[float]:
    """The losses of a training. stop_at: the step after which a checkpoint is saved and training stops."""
    from transformers import TrainerCallback

    class SaveAndStopCallback(TrainerCallback):
        def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> Any:
            control.should_save = control.should_training_stop = state.global_step == stop_at
            return control

    if stop_at:
        job.callbacks.append(SaveAndStopCallback())
    trainer = job.method.build(job)
    trainer.train(
        resume_from_checkpoint=str(next((job.folder / "checkpoints").glob("checkpoint-*"))) if resume else None
    )
    return [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]


@pytest.mark.full
@pytest.mark.slow
@pytest.mark.parametrize(("method", "knobs", "adapter"), [
    ("dpo", {}, "lora"),
    ("dpo", {"sync_every": 2, "sync_share": 0.9}, "none"),
    ("kto", {}, "lora"),
    ("orpo", {}, "lora"),
])  # fmt: skip
def test_a_resumed_run_has_the_same_losses_as_an_uninterrupted_one(method: str, knobs: dict[str, Any], adapter: str, earlier_results: dict[str, Path], home: Path, tmp_path: Path) -> None:  # fmt: skip
    """A continued adapter has a frozen copy of it in each checkpoint, and a synchronized reference must keep its state."""
    job_fields = {
        "knobs": knobs,
        "adapter": {"kind": adapter},
        "model": start_from_result(earlier_results[adapter], home),
    }
    uninterrupted_losses = train_and_get_losses(build_job(method, tmp_path / "whole", **job_fields))
    losses_until_stop = train_and_get_losses(build_job(method, tmp_path / "parts", **job_fields), stop_at=3)
    losses_after_resume = train_and_get_losses(build_job(method, tmp_path / "parts", **job_fields), resume=True)
    assert len(uninterrupted_losses) == 6
    assert losses_until_stop == pytest.approx(uninterrupted_losses[:3], rel=1e-6)
    assert losses_after_resume == pytest.approx(uninterrupted_losses, rel=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("method", ["dpo", "kto"])
def test_a_preview_of_full_fine_tuning_loads_no_weights(method: str, tmp_path: Path) -> None:
    """The model has no weight files at all. TRL by itself would load a reference model."""
    from app.engine.job import Job
    from app.engine.model.device import Device
    from app.engine.preview import trainer_capture

    weightless_model = tmp_path / "bare"
    shutil.copytree(locate_model("pocket"), weightless_model, ignore=shutil.ignore_patterns("*.safetensors"))
    source = write_rows(tmp_path / "rows.jsonl", ROW_BUILDERS[method](16))
    spec = parse_spec({"method": method, "model": {"id": str(weightless_model)}, "data": [{"source": source}], "holdout": {}, "adapter": FULL_FINETUNING,
                 "knobs": NO_EVALUATIONS_OR_SAVES | {"batch_size": 4, "precompute_reference": True}})  # fmt: skip
    assert len(trainer_capture.first_batches(Job(resolve(spec), tmp_path, Device("cpu")), 2)) == 2
