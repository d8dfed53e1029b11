"""Attention: the setting reaches the model, joined examples stay apart with each implementation, and what a device lacks is refused."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM

from app.core import registry
from app.core.paths import ROOT
from app.core.problems import Problem
from app.engine.contracts import load_method
from app.engine.job import Job
from app.engine.methods import sft
from app.engine.model.device import Device
from app.engine.trainers.device_settings import require_device
from app.engine.trainers.training_args import TrainingKnobs
from app.planning.resolve import resolve
from app.setup.spec import parse_spec

POCKET = ROOT / "presets" / "pocket"


@pytest.mark.parametrize("attention", ["sdpa", "eager"])
def test_the_chosen_attention_computes_the_model(attention: str, tmp_path: Path) -> None:
    fields = {"method": "sft", "data": [{"source": "sample:tickets"}], "knobs": {"attention": attention}}
    job = Job(resolve(parse_spec(fields)), tmp_path, Device("cpu"))
    assert job.model.config._attn_implementation == attention


@pytest.mark.parametrize("attention", ["sdpa", "eager", "flex_attention"])
def test_joined_examples_do_not_see_each_other(attention: str) -> None:
    model = AutoModelForCausalLM.from_pretrained(POCKET, dtype=torch.float32, attn_implementation=attention).eval()
    tokens = torch.arange(5, 45)[None]
    first, second = tokens[:, :15], tokens[:, 15:]
    positions = torch.cat([torch.arange(15), torch.arange(25)])[None]
    with torch.no_grad():
        joined = model(input_ids=tokens, position_ids=positions).logits
        alone = torch.cat([model(input_ids=first).logits, model(input_ids=second).logits], 1)
        mixed = model(input_ids=tokens).logits
    torch.testing.assert_close(joined, alone, rtol=1e-4, atol=1e-4)
    assert not torch.allclose(joined, mixed, rtol=1e-2, atol=1e-2)


@pytest.mark.parametrize(
    ("knobs", "text"),
    [
        ({"attention": "flash_attention_2"}, "The attention flash_attention_2 needs an NVIDIA card"),
        ({"attention": "flex_attention"}, "The attention flex_attention needs an NVIDIA card"),
        ({"precision": "fp16"}, "does not train in fp16"),
        ({"activation_offloading": True}, "moves memory off an NVIDIA card"),
    ],
)
def test_what_a_processor_does_not_compute_is_refused_before_a_start(knobs: dict[str, str | bool], text: str) -> None:
    with pytest.raises(Problem, match=text):
        require_device(sft.Knobs.model_validate(knobs), Device("cpu"))


@pytest.mark.parametrize("method", ["sft", "pretrain", "dpo", "kto", "reward"])
def test_offloading_reaches_the_trainer_on_a_card_and_no_preview(method: str, tmp_path: Path) -> None:
    fields = {"method": method, "data": [{"source": "sample:tickets"}], "knobs": {"activation_offloading": True, "checkpointing": "off"}}  # fmt: skip
    spec = resolve(parse_spec(fields))
    assert Device("cuda:0").arguments(Job(spec, tmp_path, Device("cuda:0")))["activation_offloading"] is True
    for device, preview in ((Device("cuda:0"), True), (Device("cpu"), False)):
        assert "activation_offloading" not in device.arguments(Job(spec, tmp_path, device, preview=preview))


def test_methods_whose_trainer_cannot_offload_do_not_have_the_setting() -> None:
    with_setting = {
        name for name in registry.names("methods") if "activation_offloading" in load_method(name).knobs.model_fields
    }
    assert with_setting == {"sft", "pretrain", "dpo", "kto", "reward"}


def test_ebft_refuses_an_attention_without_masks_of_its_own() -> None:
    with pytest.raises(Problem, match="flex_attention"):
        resolve(
            parse_spec(
                {"method": "ebft", "data": [{"source": "sample:diary"}], "knobs": {"attention": "flex_attention"}}
            )
        )


def test_flash_attention_needs_half_precision_and_its_package(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(Problem, match="in half precision alone"):
        require_device(TrainingKnobs(attention="flash_attention_2", precision="fp32"), Device("cuda:0"))
    monkeypatch.setattr("transformers.utils.is_kernels_available", lambda: False)
    with pytest.raises(Problem, match="the package flash-attn or kernels"):
        require_device(TrainingKnobs(attention="flash_attention_2", precision="bf16"), Device("cuda:0"))


@pytest.mark.parametrize(
    ("capability", "dtype"), [((7, 5), torch.float16), ((8, 0), torch.bfloat16), ((9, 0), torch.bfloat16)]
)
def test_auto_computes_in_what_the_card_has(
    capability: tuple[int, int], dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda: capability)
    assert Device("cuda:0").half_dtype("auto") == dtype
    assert Device("cuda:0").dtype("auto", "lora") == dtype
    assert Device("cuda:0").dtype("auto", "none") == torch.float32, "trained weights stay exact"
