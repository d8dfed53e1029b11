"""Reference: the start that a model is compared with is the very one it went on from, stays or moves as asked, and is left behind."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

from app.planning.resolve import resolve
from app.setup.models import locate_model
from app.setup.spec import parse_spec
from tests.support import QUIET, write_rows
from tests.test_preference import METHODS, WEIGHTS, job_of


@pytest.fixture(scope="module")
def learned(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Results to go on from: an adapter, and a whole model."""
    found = {}
    for kind in ("lora", "none"):
        folder = tmp_path_factory.mktemp(kind)
        trainer = job_of("orpo", folder, knobs={"steps": 2, "learning_rate": 0.003}, adapter={"kind": kind})
        trainer = trainer.method.build(trainer)
        trainer.train()
        found[kind] = saved(trainer, folder / "result")
    return found


def saved(trainer: Any, folder: Path) -> Path:
    from app.engine.__main__ import save_model

    save_model(trainer, folder)
    return folder


def going_on(result: Path, home: Path) -> dict[str, Any]:
    """A Spec's model that starts from that result, put into this test's home."""
    shutil.copytree(result, home / "runs" / "earlier" / "adapter", dirs_exist_ok=True)
    return {"start_from": "run:earlier"}


EVEN = 0.6931471805599453  # the loss of a model that is what it is compared with: the logarithm of 2


@pytest.mark.slow
@pytest.mark.parametrize("method", ["dpo", "kto"])
@pytest.mark.parametrize("kind", ["lora", "none"])
def test_a_run_that_goes_on_compares_with_where_it_went_on_from(method: str, kind: str, learned: dict[str, Path], home: Path, tmp_path: Path) -> None:  # fmt: skip
    """Not with the base below: then the first loss would not be even."""
    job = job_of(method, tmp_path, knobs={"steps": 1}, adapter={"kind": kind}, model=going_on(learned[kind], home))
    trainer = job.method.build(job)
    trainer.train()
    first = next(entry for entry in trainer.state.log_history if "loss" in entry)
    assert first["rewards/chosen"] == pytest.approx(0, abs=1e-6)
    assert first["rewards/rejected"] == pytest.approx(0, abs=1e-6)
    if method == "dpo":
        assert first["loss"] == pytest.approx(EVEN, abs=1e-6)
    if kind == "none":
        assert trainer.ref_model is not None
        assert trainer.ref_model.dtype == trainer.model.dtype
        assert all(not weight.requires_grad or weight.grad is None for weight in trainer.ref_model.parameters())


@pytest.mark.slow
@pytest.mark.parametrize("precompute", [False, True])
def test_new_tokens_that_an_adapter_learned_belong_to_what_is_compared_with(precompute: bool, home: Path, tmp_path: Path) -> None:  # fmt: skip
    """TRL copies the other weights of an adapter that goes on, and not these."""
    rows = [row | {"rejected": f"<sigh> {row['rejected']}"} for row in METHODS["dpo"](16)]
    earlier = job_of(
        "orpo", tmp_path / "earlier", rows, {"steps": 2, "learning_rate": 0.01}, model={"new_tokens": ["<sigh>"]}
    )
    first = earlier.method.build(earlier)
    first.train()
    model = going_on(saved(first, tmp_path / "result"), home) | {"new_tokens": ["<sigh>"]}
    job = job_of("dpo", tmp_path, rows, {"steps": 1, "precompute_reference": precompute}, model=model)
    trainer = job.method.build(job)
    trainer.train()
    assert trainer.state.log_history[0]["loss"] == pytest.approx(EVEN, abs=3e-7)


@pytest.mark.slow
@pytest.mark.parametrize("method", ["grpo", "rloo"])
@pytest.mark.parametrize("kind", ["lora", "none"])
def test_a_model_that_earns_rewards_is_held_near_all_of_its_start(
    method: str, kind: str, home: Path, tmp_path: Path
) -> None:
    """Of an adapter that goes on TRL copies all but new tokens; a whole model it loads by name, without the rows of new tokens."""
    adapter, new = {"kind": kind}, {"new_tokens": ["<sum>"]}
    rows = [row | {"rejected": f"<sum> {row['rejected']}"} for row in METHODS["dpo"](16)]
    earlier = job_of(
        "orpo", tmp_path / "earlier", rows, {"steps": 2, "learning_rate": 0.01}, adapter=adapter, model=new
    )
    first = earlier.method.build(earlier)
    first.train()
    asked = [{"prompt": f"<sum> What is {n} + 1?", "answer": str(n + 1)} for n in range(8)]
    knobs = {"steps": 1, "batch_size": 4, "attempts": 4, "max_completion_length": 4, "kl": 0.5, "skip_silent": False}
    model = going_on(saved(first, tmp_path / "result"), home) | new
    job = job_of(method, tmp_path, asked, knobs, adapter=adapter, model=model, rewards=[{"name": "length_band"}])
    trainer = job.method.build(job)
    trainer.train()
    assert next(entry["kl"] for entry in trainer.state.log_history if "kl" in entry) == pytest.approx(0, abs=1e-6)
    if kind == "none":
        there, start = trainer.model.get_input_embeddings(), trainer.ref_model.get_input_embeddings()
        assert start.weight.shape == there.weight.shape


@pytest.mark.slow
@pytest.mark.parametrize("method", ["dpo", "kto"])
def test_a_frozen_copy_that_was_compared_with_is_no_part_of_the_result(method: str, learned: dict[str, Path], home: Path, tmp_path: Path) -> None:  # fmt: skip
    from app.engine.model.load_model import load_tuned

    job = job_of(method, tmp_path, knobs={"steps": 1}, model=going_on(learned["lora"], home))
    trainer = job.method.build(job)
    trainer.train()
    trainer.save_model(str(tmp_path / "theirs"))
    assert (tmp_path / "theirs" / "ref").exists(), "TRL no longer writes it: then there is nothing to take away"
    saved(trainer, tmp_path / "ours")
    assert sorted(path.name for path in (tmp_path / "ours").iterdir()) == [
        "adapter_config.json", "adapter_model.safetensors", "chat_template.jinja", "tokenizer.json", "tokenizer_config.json"]  # fmt: skip
    model, _ = load_tuned(tmp_path / "ours")
    assert list(model.peft_config) == ["default"]


def trained(job: Any, stop_at: int | None = None, resume: bool = False) -> list[float]:
    """The losses; stop_at: a checkpoint is saved at this step, and the training ends."""
    from transformers import TrainerCallback

    class Stop(TrainerCallback):
        def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> Any:
            control.should_save = control.should_training_stop = state.global_step == stop_at
            return control

    if stop_at:
        job.callbacks.append(Stop())
    trainer = job.method.build(job)
    trainer.train(
        resume_from_checkpoint=str(next((job.folder / "checkpoints").glob("checkpoint-*"))) if resume else None
    )
    return [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]


@pytest.mark.slow
@pytest.mark.parametrize(("method", "knobs", "adapter"), [
    ("dpo", {}, "lora"),
    ("dpo", {"sync_every": 2, "sync_share": 0.9}, "none"),
    ("kto", {}, "lora"),
    ("orpo", {}, "lora"),
])  # fmt: skip
def test_a_stopped_run_goes_on_as_if_undisturbed(method: str, knobs: dict[str, Any], adapter: str, learned: dict[str, Path], home: Path, tmp_path: Path) -> None:  # fmt: skip
    """From an adapter there is a frozen copy of it in each checkpoint; and a reference that moves must not start over."""
    more = {"knobs": knobs, "adapter": {"kind": adapter}, "model": going_on(learned[adapter], home)}
    whole = trained(job_of(method, tmp_path / "whole", **more))
    first = trained(job_of(method, tmp_path / "parts", **more), stop_at=3)
    both = trained(job_of(method, tmp_path / "parts", **more), resume=True)
    assert len(whole) == 6
    assert first == pytest.approx(whole[:3], rel=1e-6)
    assert both == pytest.approx(whole, rel=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("method", ["dpo", "kto"])
def test_a_preview_of_all_weights_loads_none(method: str, tmp_path: Path) -> None:
    """Of a model whose weights are not there at all: TRL would load a reference."""
    from app.engine.job import Job
    from app.engine.model.device import Device
    from app.engine.preview import trainer_capture

    bare = tmp_path / "bare"
    shutil.copytree(locate_model("pocket"), bare, ignore=shutil.ignore_patterns("*.safetensors"))
    source = write_rows(tmp_path / "rows.jsonl", METHODS[method](16))
    spec = parse_spec({"method": method, "model": {"id": str(bare)}, "data": [{"source": source}], "holdout": {}, "adapter": WEIGHTS,
                 "knobs": QUIET | {"batch_size": 4, "precompute_reference": True}})  # fmt: skip
    assert len(trainer_capture.first_batches(Job(resolve(spec), tmp_path, Device("cpu")), 2)) == 2
