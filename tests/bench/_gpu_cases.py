"""What the GPU bench trains: models of the catalogue with the settings that only a graphics card has, or is made for."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from tests.memory_cases import MemoryCase

_BATCH = {"batch_size": 16, "max_length": 512, "checkpointing": "off"}
_SMALL, _LARGE = "Qwen/Qwen3-0.6B", "Qwen/Qwen3-4B-Instruct-2507"


@dataclass(frozen=True)
class GpuCase:
    """model: an entry of the catalogue. case: what is trained; None: TRL's SFTTrainer with its own defaults. needs: packages,
    of which one suffices."""

    model: str
    case: MemoryCase | None
    needs: tuple[str, ...] = ()


def _with(case: MemoryCase, **knobs: Any) -> MemoryCase:
    return replace(case, knobs=case.knobs | knobs)


SFT = MemoryCase("sft", "long", _BATCH)
_ALL_WEIGHTS = MemoryCase(
    "sft",
    "long",
    _BATCH | {"checkpointing": "on", "optimizer": "adafactor"},
    {"adapter": {"kind": "none"}},
)
_GROUPS = {"batch_size": 32, "attempts": 8, "max_completion_length": 64, "skip_silent": False, "checkpointing": "off"}
CASES = {
    "sft": GpuCase(_LARGE, SFT),
    "sft, as TRL comes": GpuCase(_LARGE, None),
    "sft, recomputation": GpuCase(_LARGE, MemoryCase("sft", "long", _BATCH | {"checkpointing": "on"})),
    "sft, offloading": GpuCase(_LARGE, MemoryCase("sft", "long", _BATCH | {"activation_offloading": True})),
    "sft, compiled": GpuCase(_LARGE, MemoryCase("sft", "long", _BATCH | {"torch_compile": True})),
    "sft, nf4": GpuCase(
        _LARGE, MemoryCase("sft", "long", _BATCH, {"model": {"quantization": "nf4"}}), ("bitsandbytes",)
    ),
    "sft, fp32": GpuCase(_SMALL, MemoryCase("sft", "long", _BATCH | {"precision": "fp32"})),
    "sft, fp16": GpuCase(_SMALL, MemoryCase("sft", "long", _BATCH | {"precision": "fp16"})),
    "sft, all weights": GpuCase(_SMALL, MemoryCase("sft", "long", _BATCH, {"adapter": {"kind": "none"}})),
    "sft, all weights of a large model": GpuCase(_LARGE, _ALL_WEIGHTS),
    "sft, all weights of a large model, compiled": GpuCase(_LARGE, _with(_ALL_WEIGHTS, torch_compile=True)),
    "sft, all weights of a large model, fp8": GpuCase(
        _LARGE, _with(_ALL_WEIGHTS, torch_compile=True, precision="fp8"), ("torchao",)
    ),
    "sft, packed": GpuCase(_SMALL, MemoryCase("sft", "long", _BATCH | {"packing": True})),
    "sft, packed, compiled": GpuCase(
        _SMALL, MemoryCase("sft", "long", _BATCH | {"packing": True, "torch_compile": True})
    ),
    "sft, packed, flex attention": GpuCase(
        _SMALL, MemoryCase("sft", "long", _BATCH | {"packing": True, "attention": "flex_attention"})
    ),
    "sft, packed, flash attention": GpuCase(
        _SMALL,
        MemoryCase("sft", "long", _BATCH | {"packing": True, "attention": "flash_attention_2"}),
        ("flash_attn", "kernels"),
    ),
    "sft, padding-free, flash attention": GpuCase(
        _SMALL,
        MemoryCase("sft", "long", _BATCH | {"padding_free": True, "attention": "flash_attention_2"}),
        ("flash_attn", "kernels"),
    ),
    "dpo": GpuCase(_SMALL, MemoryCase("dpo", "preference", _BATCH | {"batch_size": 8})),
    "dpo, compiled": GpuCase(
        _SMALL, MemoryCase("dpo", "preference", _BATCH | {"batch_size": 8, "torch_compile": True})
    ),
    "grpo": GpuCase(_SMALL, MemoryCase("grpo", "prompt", _GROUPS, {"rewards": [{"name": "length_band"}]})),
}
