"""Initial weights of LoRA adapters: PiSSA, OLoRA, LoftQ and orthogonal ones, on base weights that stay as they are.

PEFT's PiSSA and OLoRA take the initial product B₀A₀ out of the base weights, so that the adapter fits only what is left
of them and must be converted when it is saved. Here the converted form is what is trained: an adapter of twice the rank,
[B, −B₀]·[A; A₀], of which the halves with B₀ and A₀ are frozen. It learns as PEFT's does, begins as the unchanged model,
and is at any time an ordinary adapter of the plain base: in checkpoints, as a reference without the adapter, beside
quantized weights, and published.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch
    from peft.tuners.lora import LoraLayer
    from torch.nn import Module, Parameter
    from transformers import Trainer

    from app.engine.job import Job
    from app.engine.model.frozen_halves import FrozenHalf
    from app.setup.adapter import Adapter

_NAME = "default"  # of the adapter, in PEFT's dictionaries


def initialize_adapter(job: Job, trainer: Trainer) -> None:
    """Gives the trainer's new adapter the initial weights that the Spec asks for, where PEFT has not given them yet."""
    adapter = job.spec.adapter
    if job.peft_config is None or adapter.init in ("default", "gaussian"):
        return
    from app.engine.model.frozen_halves import FreezeHalves

    originals = _unquantized_weights(job) if adapter.init == "loftq" else {}
    frozen_halves: list[FrozenHalf] = []
    assert trainer.model is not None, "a trainer has a model"
    for name, layer in _lora_layers(trainer.model).items():
        a, b = _initial_weights(_float_weight(layer), originals.get(name), adapter)
        if adapter.as_stored.r != adapter.r:
            frozen_halves += _set_with_frozen_halves(layer, a, b)
        else:
            _set_weights(layer, a, b)
    if frozen_halves:
        trainer.add_callback(FreezeHalves(frozen_halves))


# -- the weights --------------------------------------------------------------------------------------------------


def _lora_layers(model: Module) -> dict[str, LoraLayer]:
    """{name in the base model: layer with LoRA}."""
    from peft.tuners.lora import LoraLayer

    return {
        name.removeprefix("base_model.model."): module
        for name, module in model.named_modules()
        if isinstance(module, LoraLayer)
    }


def _initial_weights(
    weight: torch.Tensor, original: torch.Tensor | None, adapter: Adapter
) -> tuple[torch.Tensor, torch.Tensor]:
    """(A₀, B₀) as PEFT initialises them on a copy of a weight of (outputs, inputs), in float32.

    original: the weight before it was quantized; LoftQ's adapter makes up for the difference, and PiSSA's SVD of it is
    the best adapter of this rank.
    """
    import torch
    from peft import LoraConfig
    from peft.tuners import lora

    is_loftq = original is not None
    matrix = weight if original is None else original.to(weight) - weight
    layer = torch.nn.Linear(matrix.shape[1], matrix.shape[0], bias=False, device="meta")
    layer.weight = torch.nn.Parameter(matrix.clone(), requires_grad=False)  # PEFT changes it
    config = LoraConfig(
        r=adapter.r,
        lora_alpha=adapter.alpha,  # type: ignore[arg-type]  # PEFT scales by any number
        use_rslora=adapter.kind == "rslora",
        init_lora_weights="pissa" if is_loftq else adapter.init,  # type: ignore[arg-type]  # PEFT's own names
    )
    adapted = lora.Linear(layer, _NAME, config, r=adapter.r, lora_alpha=adapter.alpha)  # type: ignore[arg-type]
    a, b = _lora_weights(adapted)
    return a.data.float(), b.data.float()


def _float_weight(layer: LoraLayer) -> torch.Tensor:
    """The frozen weight of a layer as (outputs, inputs) in float32, dequantized where it is quantized."""
    from peft.utils.integrations import dequantize_module_weight

    weight = dequantize_module_weight(layer.get_base_layer()).detach().float()
    return weight.T if getattr(layer, "fan_in_fan_out", False) else weight


def _unquantized_weights(job: Job) -> dict[str, torch.Tensor]:
    """{name of a layer: its weight}, of the model as it was published, in main memory."""
    from app.engine.model.load_model import unquantized_model

    return {
        name.removesuffix(".weight"): weight.detach()
        for name, weight in unquantized_model(job).named_parameters()
        if name.endswith(".weight")
    }


def _lora_weights(layer: LoraLayer) -> tuple[Parameter, Parameter]:
    """(A, B)."""
    return layer.lora_A[_NAME].get_parameter("weight"), layer.lora_B[_NAME].get_parameter("weight")


def _set_weights(layer: LoraLayer, a: torch.Tensor, b: torch.Tensor) -> None:
    for weight, initial in zip(_lora_weights(layer), (a, b), strict=True):
        weight.data.copy_(initial)


def _set_with_frozen_halves(layer: LoraLayer, a: torch.Tensor, b: torch.Tensor) -> list[FrozenHalf]:
    import torch

    from app.engine.model.frozen_halves import FrozenHalf

    _set_weights(layer, torch.cat([a, a]), torch.cat([b, -b], dim=1))
    return [FrozenHalf(weight, dimension) for dimension, weight in enumerate(_lora_weights(layer))]
