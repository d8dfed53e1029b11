"""Compilation: the same losses and results in fewer seconds, whatever is trained, and a refusal where nothing can compile."""

from __future__ import annotations

import copy
import shutil
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file

from app.core import registry
from app.core.problems import Problem
from app.engine.contracts import load_method
from app.engine.methods import grpo, sft
from app.engine.model.device import Device
from app.engine.trainers import compilation
from app.engine.trainers.device_settings import require_device
from tests.in_process import POCKET, build_job, logged_losses, logits, train_job

COMPILED_METHODS = {
    *("sft", "pretrain", "dpo", "kto", "orpo", "cpo", "simpo", "tpo", "reward", "process_reward"),
}
COMPILED = sft.Knobs(torch_compile=True)


def count_compiled_graphs() -> int:
    """Counts the graphs that PyTorch compiled in this process, and forgets them."""
    import torch

    graphs = torch._dynamo.utils.counters["stats"]["unique_graphs"]
    torch._dynamo.reset()
    torch._dynamo.utils.counters.clear()
    return int(graphs)


def test_methods_that_learn_from_examples_have_the_setting() -> None:
    """Those that write answers spend most of their time with it, which is not compiled."""
    with_setting = {
        name for name in registry.names("methods") if "torch_compile" in load_method(name).knobs.model_fields
    }
    assert with_setting == COMPILED_METHODS


@pytest.mark.slow
@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"adapter": {"kind": "none"}},
        {"checkpointing": "on"},
        {"packing": True},
        {"optimizer": "muon", "neftune": 5.0},
        {"model": {"quantization": "nf4"}},
    ],
    ids=str,
)
def test_a_compiled_run_learns_and_stores_the_same(changes: dict[str, Any], tmp_path: Path) -> None:
    count_compiled_graphs()
    plain = train_job(build_job(tmp_path / "plain", **changes))
    assert count_compiled_graphs() == 0
    compiled = train_job(build_job(tmp_path / "compiled", torch_compile=True, **changes))
    assert count_compiled_graphs() > 0
    assert logged_losses(compiled) == pytest.approx(logged_losses(plain), rel=1e-4)
    name = "model.safetensors" if changes.get("adapter") == {"kind": "none"} else "adapter_model.safetensors"
    weights, others = (load_file(tmp_path / run / "adapter" / name) for run in ("plain", "compiled"))
    assert list(weights) == list(others)
    assert all(weight.shape == others[key].shape for key, weight in weights.items())


@pytest.mark.slow
def test_a_compiled_run_loads_and_answers_as_any_other(tmp_path: Path) -> None:
    import torch
    from peft import AutoPeftModelForCausalLM

    job = build_job(tmp_path, torch_compile=True)
    trainer = train_job(job)
    loaded = AutoPeftModelForCausalLM.from_pretrained(tmp_path / "adapter", dtype=torch.float32).eval()
    torch.testing.assert_close(
        logits(trainer.model, job.tokenizer), logits(loaded, job.tokenizer), rtol=1e-4, atol=1e-4
    )
    count_compiled_graphs()
    prompt = job.tokenizer("Hello!", return_tensors="pt")
    answers = [model.generate(**prompt, max_new_tokens=8, do_sample=False) for model in (trainer.model, loaded)]
    assert torch.equal(*answers)
    assert count_compiled_graphs() == 0, "answers are not compiled: they change in length all the time"


@pytest.mark.full
def test_a_compiled_run_resumes_as_an_uninterrupted_one(tmp_path: Path) -> None:
    from transformers import TrainerCallback

    class SaveAtTwo(TrainerCallback):
        def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> Any:
            control.should_save = state.global_step == 2
            return control

    uninterrupted = build_job(tmp_path, torch_compile=True)
    uninterrupted.callbacks.append(SaveAtTwo())
    expected = logged_losses(train_job(uninterrupted))
    resumed = build_job(tmp_path, torch_compile=True)
    trainer = resumed.method.build(resumed)
    trainer.train(resume_from_checkpoint=str(tmp_path / "checkpoints" / "checkpoint-2"))
    assert logged_losses(trainer) == pytest.approx(expected, rel=1e-6)


@pytest.mark.slow
def test_a_copied_model_computes_with_its_own_layers() -> None:
    import torch
    from transformers import AutoModelForCausalLM

    from app.engine.model.compiled_layers import compile_layers

    model = AutoModelForCausalLM.from_pretrained(POCKET, dtype=torch.float32)
    compile_layers(model, has_equal_batches=False)
    copied = copy.deepcopy(model)
    tokens = torch.arange(5, 25)[None]
    expected = model(input_ids=tokens, use_cache=False).logits
    with torch.no_grad():
        for weight in copied.model.layers.parameters():
            weight.zero_()
    assert not torch.allclose(copied(input_ids=tokens, use_cache=False).logits, expected)
    torch.testing.assert_close(model(input_ids=tokens, use_cache=False).logits, expected)


@pytest.mark.slow
def test_a_model_without_repeated_layers_is_refused() -> None:
    import torch

    from app.engine.model.compiled_layers import compile_layers

    with pytest.raises(Problem, match="no repeated layers"):
        compile_layers(torch.nn.Linear(2, 2), has_equal_batches=False)


def test_a_processor_needs_a_compiler_and_headers(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from torch._inductor import config

    require_device(COMPILED, Device("cpu"))
    with monkeypatch.context() as patch:
        patch.setattr(compilation.sysconfig, "get_paths", lambda: {"include": str(tmp_path)})
        with pytest.raises(Problem, match=r"Compilation needs the headers of Python \(python3-dev\)"):
            require_device(COMPILED, Device("cpu"))
    compiler_missing = pytest.raises(Problem, match=r"Compilation needs a C\+\+ compiler such as g\+\+")
    with config.patch({"cpp.cxx": (None, "no-such-compiler")}), compiler_missing:
        require_device(COMPILED, Device("cpu"))
    require_device(sft.Knobs(), Device("cpu"))


def test_a_card_needs_triton_and_a_c_compiler(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("transformers.utils.is_triton_available", lambda: False)
    with pytest.raises(Problem, match="Compilation needs the package triton"):
        require_device(COMPILED, Device("cuda:0"))
    monkeypatch.setattr("transformers.utils.is_triton_available", lambda: True)
    require_device(COMPILED, Device("cuda:0"))
    with monkeypatch.context() as patch:
        patch.setattr("torch.cuda.is_available", lambda: True)
        patch.setattr("torch.cuda.get_device_capability", lambda: (6, 1))
        with pytest.raises(Problem, match=r"compute capability 7\.0 or later"):
            require_device(COMPILED, Device("cuda:0"))
    monkeypatch.setattr(shutil, "which", lambda name: None)
    with pytest.raises(Problem, match="Compilation needs a C compiler such as gcc"):
        require_device(COMPILED, Device("cuda:0"))


def test_other_devices_are_refused() -> None:
    with pytest.raises(Problem, match="trains on another device"):
        require_device(COMPILED, Device("mps"))


def test_a_method_that_writes_answers_knows_no_compilation() -> None:
    with pytest.raises(ValueError, match="torch_compile"):
        grpo.Knobs.model_validate({"torch_compile": True})


@pytest.mark.parametrize("kind", ["dora", "loha", "lokr"])
def test_adapters_that_stop_the_compiler_are_refused(kind: str, tmp_path: Path) -> None:
    with pytest.raises(Problem, match=f"The adapter {kind} does not become quicker"):
        build_job(tmp_path, adapter={"kind": kind}, torch_compile=True)


def test_no_time_is_tried_out_for_a_compiled_run(tmp_path: Path) -> None:
    from app.engine.preview.run_estimate import estimate_run

    spec = build_job(tmp_path, torch_compile=True).spec
    estimating = estimate_run(spec)
    try:
        while True:
            next(estimating)
    except StopIteration as end:
        estimate = end.value
    assert estimate["seconds"] is None
    assert estimate["seconds_why"].startswith("Compiling takes longer than the steps")
