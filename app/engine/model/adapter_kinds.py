"""Kinds of adapters beside LoRA, and which other settings each of them can be combined with."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from app.core.problems import Problem

if TYPE_CHECKING:
    from peft import PeftConfig
    from torch.nn import Module

    from app.setup.adapter import Adapter
    from app.setup.spec import Spec

_DEFAULT_FEEDFORWARD = ["down_proj"]


def build_other_config(spec: Spec, model_type: str, common: dict[str, Any]) -> PeftConfig:
    """peft's config of an adapter of another kind than LoRA. common: arguments of every kind of adapter."""
    import peft

    adapter = spec.adapter
    if adapter.kind == "ia3":
        return peft.IA3Config(feedforward_modules=_feedforward_layers(model_type, common["target_modules"]), **common)
    if adapter.kind == "oft":  # of an adapter's rank a person expects that more holds more, as a larger block does
        return peft.OFTConfig(oft_block_size=adapter.r, **common)
    if adapter.kind == "vera":
        return peft.VeraConfig(r=adapter.r, vera_dropout=adapter.dropout, **common)
    if adapter.kind == "fourierft":
        return peft.FourierFTConfig(init_weights=True, **common)  # True: as nothing
    config = {"loha": peft.LoHaConfig, "lokr": peft.LoKrConfig}[adapter.kind]
    return config(r=adapter.r, alpha=adapter.alpha, **common)


def require_supported(spec: Spec, *, trains_tokens: bool) -> None:
    """Raises Problem where the Spec asks for what PEFT has for LoRA alone."""
    adapter = spec.adapter
    if adapter.is_lora:
        return
    lora_only = {
        "dropout": bool(adapter.dropout) and adapter.kind != "vera",
        "experts": bool(adapter.experts),
        "new tokens": trains_tokens,
        f"an initialisation as {adapter.init}": adapter.init != "default",
        f"weights held as {spec.model.quantization}": spec.model.quantization != "none"
        and adapter.computes_whole_matrices,
    }
    conflict = next((name for name, is_requested in lora_only.items() if is_requested), None)
    if conflict:
        raise Problem(
            f"An adapter of the kind {adapter.kind} cannot be combined with {conflict}.",
            advice="Choose lora, or leave that out.",
        )


def require_initializable(adapter: Adapter, quantization: str, layers: list[Module]) -> None:
    """Raises Problem where a model's layers cannot begin as the Spec says. layers: that get an adapter."""
    if adapter.init in ("default", "gaussian"):
        return
    if adapter.experts:
        raise Problem(
            f"Stacks of experts cannot carry an adapter that begins as {adapter.init}.",
            advice="Set the initialisation to default.",
        )
    if adapter.init == "orthogonal" and adapter.r % 2:
        raise Problem(
            f"An orthogonal initialisation needs an even rank, and this one is {adapter.r}.",
            advice=f"Set the rank to {adapter.r + 1}.",
        )
    if adapter.init == "loftq" and quantization == "none":
        raise Problem(
            "LoftQ makes up for what the weights lose when they are held in fewer bits, and here they are held as they are.",
            advice="Hold the frozen weights as nf4, or set the initialisation to default.",
        )
    smallest = min(map(_smallest_dimension, layers), default=adapter.r)
    if adapter.init != "orthogonal" and adapter.r > smallest:
        raise Problem(
            f"An adapter that begins as {adapter.init} cannot have a rank of {adapter.r}: the smallest layer has {smallest} directions.",
            advice=f"Set the rank to at most {smallest}, or the initialisation to default.",
        )


def _smallest_dimension(layer: Module) -> int:
    """Of the weight of a layer, as if it were not quantized."""
    import torch

    if isinstance(layer, torch.nn.Linear):
        return min(layer.in_features, layer.out_features)
    return min(layer.get_parameter("weight").shape)


def _feedforward_layers(model_type: str, target_modules: list[str]) -> list[str]:
    """The layers whose inputs are scaled instead of their outputs: the second of the MLP, as PEFT has it by model type."""
    from peft.utils import TRANSFORMERS_MODELS_TO_IA3_FEEDFORWARD_MODULES_MAPPING as FEEDFORWARD

    endings = FEEDFORWARD.get(model_type, _DEFAULT_FEEDFORWARD)
    return [name for name in target_modules if any(name.endswith(f".{ending}") for ending in endings)]
