"""Likelihood: how well a model foretells the very words of texts, as a loss to learn from and as a held-out measure."""

from __future__ import annotations

from typing import Any

from app.engine.tokens.tokenized_examples import UNLEARNED
from app.engine.trainers.ebft.features import padded, pieces


def cross_entropy(model: Any, ids: Any, mask: Any, labels: Any, weights: Any = None) -> Any:
    """The mean over all learned tokens. weights (texts): how often each text counts."""
    told = losses(model, ids, mask, labels)
    counted = (labels[:, 1:] != UNLEARNED) * (1 if weights is None else weights[:, None])
    return (told * counted).sum() / counted.sum().clamp(min=1)


def losses(model: Any, ids: Any, mask: Any, labels: Any) -> Any:
    """(texts, length − 1): minus the log-probability of each next token, 0 where it is not learned."""
    from torch.nn.functional import cross_entropy as loss_of

    logits = model(input_ids=ids, attention_mask=mask, use_cache=False).logits[:, :-1].float()
    return loss_of(logits.transpose(1, 2), labels[:, 1:], ignore_index=UNLEARNED, reduction="none")


def held_out_loss(trainer: Any, texts: list[list[int]], labels: list[list[int]]) -> float | None:
    """Of all learned tokens; None without texts. For a model at rest."""
    import torch

    order, total, count = sorted(range(len(texts)), key=lambda i: -len(texts[i])), 0.0, 0
    for part in pieces(order, len(texts[order[0]])) if order else []:
        ids, mask = padded([texts[i] for i in part], trainer.accelerator.device)
        wanted = filled([labels[i] for i in part], ids)
        with torch.no_grad(), trainer.compute_loss_context_manager():
            total += losses(trainer.model, ids, mask, wanted).sum().item()
        count += int((wanted[:, 1:] != UNLEARNED).sum())
    return total / count if count else None


def filled(labels: list[list[int]], ids: Any) -> Any:
    """Labels of the shape of padded `ids`."""
    import torch

    longest = ids.shape[1]
    return torch.tensor([row + [UNLEARNED] * (longest - len(row)) for row in labels], device=ids.device)
