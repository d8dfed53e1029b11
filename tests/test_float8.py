"""FP8: torchao converts the layers that learn, answers stay as those of the result, and other setups and devices are refused."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from app.core.problems import Problem
from app.engine.methods import sft
from app.engine.model.device import Device
from app.engine.trainers.device_settings import require_device
from app.planning.memory.device_memory import DeviceMemory
from app.planning.memory.estimate import estimate_memory
from app.setup.model_shape import read_model_shape
from app.setup.step_memory import RowLengths
from tests.in_process import POCKET, build_job, logged_losses
from tests.memory_models import SHAPES
from tests.support import build_spec, preference_rows, write_rows

if TYPE_CHECKING:
    from transformers import PreTrainedModel

FP8 = {"precision": "fp8", "torch_compile": True}
ALL_WEIGHTS = {"kind": "none"}
CARD = sft.Knobs(precision="fp8")


def load_practice_model() -> PreTrainedModel:
    import torch
    from transformers import AutoModelForCausalLM

    return AutoModelForCausalLM.from_pretrained(POCKET, dtype=torch.float32)


def convert(model: PreTrainedModel, *, emulate: bool) -> None:
    """emulate: with the products in float32, of factors that are rounded to 8 bits, since only cards multiply those."""
    from torchao.float8 import Float8LinearConfig

    from app.engine.model.float8 import multiply_in_float8

    multiply_in_float8(model, Float8LinearConfig(pad_inner_dim=True, emulate=emulate))


@pytest.mark.slow
def test_all_layers_but_the_first_and_the_last_learn_in_fp8() -> None:
    import torch

    model = load_practice_model()
    names, tokens = list(model.state_dict()), torch.arange(5, 42)[None]  # 37 tokens: no multiple of 16
    exact = model.train()(input_ids=tokens, labels=tokens).loss
    answer = model.eval()(input_ids=tokens).logits
    convert(model, emulate=True)
    linear = {name: type(layer).__name__ for name, layer in model.named_modules() if isinstance(layer, torch.nn.Linear)}
    assert [name for name, kind in linear.items() if kind == "Linear"] == ["model.layers.0.self_attn.q_proj", "lm_head"]
    assert set(linear.values()) == {"Linear", "Float8Linear"}
    assert list(model.state_dict()) == names
    rounded = model.train()(input_ids=tokens, labels=tokens).loss
    assert 0 < abs(rounded.item() - exact.item()) < 0.02 * exact.item()
    assert torch.equal(model.eval()(input_ids=tokens).logits, answer), "answers compute as those of the result"


@pytest.mark.slow
def test_an_emulated_run_learns_as_an_exact_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from app.engine.model import trained_model

    def losses(folder: str, finish: Any) -> list[float]:
        monkeypatch.setattr("app.engine.job.finish_model", finish)
        job = build_job(tmp_path / folder, adapter=ALL_WEIGHTS, steps=8)
        trainer = job.method.build(job)
        trainer.train()
        return logged_losses(trainer)

    def finish_in_float8(job: Any, trainer: Any) -> None:
        trained_model.finish_model(job, trainer)
        convert(trainer.model, emulate=True)

    original = trained_model.finish_model
    exact, rounded = losses("exact", original), losses("rounded", finish_in_float8)
    assert rounded != exact
    assert rounded == pytest.approx(exact, rel=0.1)
    assert rounded[-1] < 0.9 * rounded[0]


@pytest.mark.slow
def test_layers_of_an_odd_size_are_refused() -> None:
    import torch

    from app.engine.model.float8 import multiply_in_float8

    with pytest.raises(Problem, match="no layers that can compute in FP8"):
        multiply_in_float8(torch.nn.Sequential(*(torch.nn.Linear(10, 10) for _ in range(4))))


@pytest.mark.slow
def test_a_job_on_a_card_converts_its_model_and_computes_the_rest_in_bfloat16(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import torch

    from app.engine.model import float8, trained_model

    converted: list[Any] = []
    monkeypatch.setattr(float8, "multiply_in_float8", converted.append)
    job = build_job(tmp_path, adapter=ALL_WEIGHTS, **FP8)
    trainer = job.method.build(job)
    assert converted == [], "on a processor a trainer only scores and answers"
    job.device = Device("cuda:0")
    trained_model.finish_model(job, trainer)
    assert converted == [trainer.model]
    assert job.device.half_dtype("fp8") == torch.bfloat16
    assert job.device.dtype("fp8", "none") == torch.float32


def test_the_memory_of_fp8_is_that_of_bf16(tmp_path: Path) -> None:
    """Masters stay in float32 and what the backward pass needs in bfloat16; only the products are smaller."""
    shape, card = read_model_shape(SHAPES["small llama"]), DeviceMemory("cuda", 80 * 10**9, 80 * 10**9)
    lengths = RowLengths(text=64, learned=32, prompt=32)
    setups = ({"precision": "bf16", "torch_compile": True}, FP8, {"precision": "fp32", "torch_compile": True})
    bf16, fp8, fp32 = (
        estimate_memory(build_job(tmp_path, adapter=ALL_WEIGHTS, **knobs).spec, shape, lengths, card)
        for knobs in setups
    )
    assert bf16 == fp8 != fp32


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"torch_compile": True}, "beside an adapter these stay as they are"),
        ({"adapter": ALL_WEIGHTS}, "Without compilation FP8 is slower than bf16"),
    ],
)
def test_setups_that_fp8_does_not_help_are_refused(changes: dict[str, Any], text: str, tmp_path: Path) -> None:
    with pytest.raises(Problem, match=text):
        build_job(tmp_path, precision="fp8", **changes)


@pytest.mark.parametrize("reference", [{}, {"precompute_reference": True}])
def test_a_comparison_with_the_start_is_not_made_in_fp8(reference: dict[str, Any], tmp_path: Path) -> None:
    source = write_rows(tmp_path / "pairs.jsonl", preference_rows(8))
    with pytest.raises(Problem, match="does not compute in FP8"):
        build_spec("dpo", source, FP8 | reference, adapter=ALL_WEIGHTS)


def test_fp8_needs_a_new_card_and_its_package(monkeypatch: pytest.MonkeyPatch) -> None:
    for device in (Device("cpu"), Device("mps")):
        with pytest.raises(Problem, match="FP8 needs an NVIDIA card"):
            require_device(CARD, device)
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    monkeypatch.setattr("torch.cuda.get_device_name", lambda: "NVIDIA A100")
    monkeypatch.setattr("torch.cuda.get_device_capability", lambda: (8, 0))
    with pytest.raises(Problem, match="Ada or Hopper on, and NVIDIA A100 is older"):
        require_device(CARD, Device("cuda:0"))
    monkeypatch.setattr("torch.cuda.get_device_capability", lambda: (8, 9))
    monkeypatch.setattr("accelerate.utils.is_torchao_available", lambda: False)
    with pytest.raises(Problem, match="the package torchao, which is not installed"):
        require_device(CARD, Device("cuda:0"))
    monkeypatch.setattr("accelerate.utils.is_torchao_available", lambda: True)
    require_device(CARD, Device("cuda:0"))
