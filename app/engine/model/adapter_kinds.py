"""Adapters that are not LoRA: IA³, LoHa and LoKr, with what PEFT supports of each."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from app.core.problems import Problem

if TYPE_CHECKING:
    from peft import PeftConfig

    from app.setup.spec import Spec

_DEFAULT_FEEDFORWARD = ["down_proj"]


def build_other_config(spec: Spec, model_type: str, common: dict[str, Any]) -> PeftConfig:
    """peft's config of an adapter of another kind than LoRA. common: arguments of every kind of adapter."""
    import peft

    adapter = spec.adapter
    if adapter.kind == "ia3":
        return peft.IA3Config(feedforward_modules=_feedforward_layers(model_type, common["target_modules"]), **common)
    config = {"loha": peft.LoHaConfig, "lokr": peft.LoKrConfig}[adapter.kind]
    return config(r=adapter.r, alpha=adapter.alpha, **common)


def require_supported(spec: Spec, *, trains_tokens: bool) -> None:
    """Raises Problem where the Spec asks for what PEFT has for LoRA alone."""
    adapter = spec.adapter
    if adapter.is_lora:
        return
    lora_only = {
        "dropout": bool(adapter.dropout),
        "experts": bool(adapter.experts),
        "new tokens": trains_tokens,
        f"an initialisation as {adapter.init}": adapter.init != "default",
        f"weights held as {spec.model.quantization}": spec.model.quantization != "none" and adapter.kind != "ia3",
    }
    conflict = next((name for name, is_requested in lora_only.items() if is_requested), None)
    if conflict:
        raise Problem(
            f"An adapter of the kind {adapter.kind} cannot be combined with {conflict}.",
            advice="Choose lora, or leave that out.",
        )


def _feedforward_layers(model_type: str, target_modules: list[str]) -> list[str]:
    """The layers whose inputs are scaled instead of their outputs: the second of the MLP, as PEFT has it by model type."""
    from peft.utils import TRANSFORMERS_MODELS_TO_IA3_FEEDFORWARD_MODULES_MAPPING as FEEDFORWARD

    endings = FEEDFORWARD.get(model_type, _DEFAULT_FEEDFORWARD)
    return [name for name in target_modules if any(name.endswith(f".{ending}") for ending in endings)]
