"""LoRA computed with one matrix product less than PEFT does: what the adapter adds is summed into the layer's own result.

PEFT computes the product with B, scales it, and adds it to the result: three passes over a tensor of the size of the result,
and as many on the way back. Here one `addmm` does all three, and in mixed precision the input is not copied to float32 first.
The sums are the same but for rounding. What is stored is the same too: only the computation differs.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from peft.tuners.lora import Linear
from peft.tuners.lora.layer import LoraLayer, LoraVariant
from torch.nn.functional import linear

if TYPE_CHECKING:
    from torch import Tensor
    from torch.nn import Module


def fuse_lora(model: Module) -> None:
    """Makes the plain LoRA layers of a model compute so. DoRA and the like, quantized layers and biased adapters stay as
    they are."""
    for layer in model.modules():
        if type(layer) is not Linear:  # subclasses are quantized layers
            continue
        for name in layer.lora_A:
            if name not in layer.lora_variant and layer.lora_B[name].bias is None:
                layer.lora_variant[name] = _FusedLora()
                layer.cast_input_dtype_enabled = False


class _FusedLora(LoraVariant):
    """Plain LoRA as a variant of PEFT's layer, which calls these methods. It merges as plain LoRA does."""

    @staticmethod
    def forward(module: LoraLayer, active_adapter: str, x: Tensor, result: Tensor, **kwargs: Any) -> Tensor:
        """The layer's result of shape (…, outputs) with what the adapter adds for x of shape (…, inputs)."""
        lora_a = module.lora_A[active_adapter].get_parameter("weight")
        lora_b = module.lora_B[active_adapter].get_parameter("weight")
        if not torch.is_autocast_enabled(x.device.type):  # under autocast the products below convert what they read
            x, result = x.to(lora_a.dtype), result.to(lora_a.dtype)
        projected = linear(module.lora_dropout.get_submodule(active_adapter)(x), lora_a)
        summed = torch.addmm(
            result.flatten(0, -2), projected.flatten(0, -2), lora_b.t(), alpha=module.scaling[active_adapter]
        )
        return summed.view(result.shape)

    @staticmethod
    def merge_safe(module: LoraLayer, active_adapter: str, orig_weight: Tensor) -> Tensor:
        return orig_weight.data + _delta(module, active_adapter, orig_weight)

    @staticmethod
    def merge_unsafe(module: LoraLayer, active_adapter: str, orig_weight: Tensor) -> None:
        orig_weight.data += _delta(module, active_adapter, orig_weight)

    @staticmethod
    def unmerge(module: LoraLayer, active_adapter: str, orig_weight: Tensor) -> Tensor:
        return orig_weight.data - _delta(module, active_adapter, orig_weight)


def _delta(module: LoraLayer, active_adapter: str, weight: Tensor) -> Tensor:
    """What the adapter adds to the layer's weight, in the dtype of that weight."""
    assert isinstance(module, Linear)  # `fuse_lora` takes no others
    return module.get_delta_weight(active_adapter).detach().to(weight.dtype)
