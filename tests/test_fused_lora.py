"""LoRA with one matrix product less computes what PEFT computes: outputs, gradients, merged weights."""

from __future__ import annotations

import copy

import pytest
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from torch.testing import assert_close
from transformers import LlamaConfig, LlamaForCausalLM

from app.engine.model.fused_lora import fuse_lora

IDS = torch.arange(24).view(2, 12)


def adapted_model(seed: int = 3, **settings: object) -> PeftModel:
    """A tiny Llama with an adapter whose second matrices are no longer zero."""
    torch.manual_seed(seed)
    config = LlamaConfig(
        vocab_size=64, hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=4
    )
    options = {"target_modules": "all-linear", "r": 4, "lora_alpha": 12} | settings
    model = get_peft_model(LlamaForCausalLM(config), LoraConfig(task_type="CAUSAL_LM", **options))
    for name, weight in model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(weight, std=0.1)
    return model


def round_base(model: PeftModel) -> None:
    """Puts all weights but those of the adapter into half precision, as the engine does."""
    for name, weight in model.named_parameters():
        if "lora_" not in name:
            weight.data = weight.data.bfloat16()


def fused_copy(model: PeftModel) -> PeftModel:
    copied = copy.deepcopy(model)
    fuse_lora(copied)
    return copied


def loss_and_gradients(model: PeftModel, half: bool) -> tuple[torch.Tensor, list[torch.Tensor]]:
    with torch.autocast("cpu", torch.bfloat16, enabled=half):
        loss = model(input_ids=IDS, labels=IDS).loss
    loss.backward()
    return loss, [weight.grad for weight in model.parameters() if weight.grad is not None]


@pytest.mark.parametrize("settings", [{}, {"use_rslora": True}, {"use_dora": True}])
def test_loss_and_gradients_are_those_of_peft(settings: dict[str, bool]) -> None:
    model = adapted_model(**settings)
    fused_loss, fused_gradients = loss_and_gradients(fused_copy(model), half=False)
    loss, gradients = loss_and_gradients(model, half=False)
    assert_close(fused_loss, loss)
    assert gradients
    assert_close(fused_gradients, gradients, rtol=1e-4, atol=1e-6)


def test_in_mixed_precision_gradients_are_as_exact_as_those_of_peft() -> None:
    """Single roundings differ, so distances to the exact gradients are added up over several models."""
    distances = {"fused": 0.0, "peft": 0.0}
    for seed in range(5):
        model = adapted_model(seed)
        round_base(model)
        _, exact_gradients = loss_and_gradients(copy.deepcopy(model).float(), half=False)
        for name, way in (("fused", fused_copy(model)), ("peft", model)):
            _, gradients = loss_and_gradients(way, half=True)
            differences = [(found - exact).norm() for found, exact in zip(gradients, exact_gradients, strict=True)]
            distances[name] += float(torch.stack(differences).norm())
    assert distances["fused"] < 1.2 * distances["peft"]


def test_in_mixed_precision_less_is_kept_for_the_backward_pass() -> None:
    """PEFT copies the input of every adapter to float32."""
    model = adapted_model()
    round_base(model)
    kept_bytes = {}
    for name, way in (("fused", fused_copy(model)), ("peft", model)):
        sizes: dict[int, int] = {}

        def remember(kept: torch.Tensor, sizes: dict[int, int] = sizes) -> torch.Tensor:
            sizes[kept.untyped_storage().data_ptr()] = kept.untyped_storage().nbytes()
            return kept

        with torch.autograd.graph.saved_tensors_hooks(remember, lambda kept: kept):
            loss_and_gradients(way, half=True)
        kept_bytes[name] = sum(sizes.values())
    assert kept_bytes["fused"] < 0.95 * kept_bytes["peft"]


def test_without_mixed_precision_a_base_in_half_precision_gives_the_same_outputs() -> None:
    model = adapted_model().eval()
    round_base(model)
    with torch.no_grad():
        assert_close(fused_copy(model)(input_ids=IDS).logits, model(input_ids=IDS).logits, rtol=0.02, atol=0.02)


def test_dropout_drops_the_same_numbers() -> None:
    model = adapted_model(lora_dropout=0.5)
    fused = fused_copy(model)
    torch.manual_seed(1)
    fused_loss, _ = loss_and_gradients(fused, half=False)
    torch.manual_seed(1)
    assert_close(fused_loss, loss_and_gradients(model, half=False)[0])


@pytest.mark.parametrize("safe", [True, False])
def test_merging_and_unmerging_change_weights_as_peft_does(safe: bool) -> None:
    model = adapted_model()
    fused = fused_copy(model)
    for each in (model, fused):
        each.merge_adapter(safe_merge=safe)
    merged, fused_merged = ([*each.parameters()] for each in (model, fused))
    assert all(torch.equal(*pair) for pair in zip(merged, fused_merged, strict=True))
    for each in (model, fused):
        each.unmerge_adapter()
    assert all(torch.equal(*pair) for pair in zip(model.parameters(), fused.parameters(), strict=True))


def test_only_plain_lora_is_fused() -> None:
    plain, dora = fused_copy(adapted_model()), fused_copy(adapted_model(use_dora=True))
    kinds = [{type(kind).__name__ for layer in model.modules() for kind in getattr(layer, "lora_variant", {}).values()}
             for model in (plain, dora)]  # fmt: skip
    assert kinds == [{"_FusedLora"}, {"DoraLinearVariant"}]
