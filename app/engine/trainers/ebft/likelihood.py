"""Cross-entropy of texts: as a training loss and as a held-out metric."""

from __future__ import annotations

from typing import TYPE_CHECKING

from app.engine.tokens.length_batches import pad_texts
from app.engine.tokens.tokenized_examples import IGNORE_INDEX
from app.engine.trainers.ebft.features import token_batches
from app.engine.trainers.mixin_bases import GRPOTrainerBase, TrainerBase

if TYPE_CHECKING:
    from torch import Tensor
    from torch.nn import Module


def cross_entropy(
    model: Module,
    input_ids: Tensor,
    attention_mask: Tensor,
    labels: Tensor,
    text_weights: Tensor | None = None,
) -> Tensor:
    """Mean over all trained tokens. text_weights (texts): how often each text counts."""
    losses = _token_losses(model, input_ids, attention_mask, labels)
    token_weights = (labels[:, 1:] != IGNORE_INDEX) * (1 if text_weights is None else text_weights[:, None])
    return (losses * token_weights).sum() / token_weights.sum().clamp(min=1)


def _token_losses(model: Module, input_ids: Tensor, attention_mask: Tensor, labels: Tensor) -> Tensor:
    """(texts, length − 1): negative log-probability of each next token, 0 where the label is IGNORE_INDEX."""
    from torch.nn.functional import cross_entropy as torch_cross_entropy

    logits = model(input_ids=input_ids, attention_mask=attention_mask, use_cache=False).logits[:, :-1].float()
    return torch_cross_entropy(logits.transpose(1, 2), labels[:, 1:], ignore_index=IGNORE_INDEX, reduction="none")


def held_out_loss(
    trainer: TrainerBase | GRPOTrainerBase, texts: list[list[int]], labels: list[list[int]]
) -> float | None:
    """Mean cross-entropy of all labelled tokens; None without texts. Expects a model in eval mode."""
    import torch

    loss_sum, token_count = 0.0, 0
    for batch in token_batches([len(text) for text in texts]):
        input_ids, attention_mask = pad_texts([texts[index] for index in batch], trainer.accelerator.device)
        padded_labels = pad_labels([labels[index] for index in batch], input_ids)
        with torch.no_grad(), trainer.compute_loss_context_manager():
            loss_sum += _token_losses(trainer.model, input_ids, attention_mask, padded_labels).sum().item()
        token_count += int((padded_labels[:, 1:] != IGNORE_INDEX).sum())
    return loss_sum / token_count if token_count else None


def pad_labels(labels: list[list[int]], input_ids: Tensor) -> Tensor:
    """Labels padded with IGNORE_INDEX to the shape of `input_ids`."""
    import torch

    longest = input_ids.shape[1]
    return torch.tensor([row + [IGNORE_INDEX] * (longest - len(row)) for row in labels], device=input_ids.device)
