"""Scores of targets by a language-model head that is not trained, without ever holding all of its logits.

The gradient of a target's log-probability with respect to its hidden state needs nothing from the loss: it is w_target - Σ p·w
over the rows w of the head, with p the probabilities. It is computed piece by piece together with the log-probabilities, while
the logits of the piece are in the processor's cache; what remains for the backward pass is one product with a number for each
position. The sums are those of PyTorch's log-softmax but for rounding.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch.autograd import Function
from torch.nn import Linear

if TYPE_CHECKING:
    from torch import Tensor
    from torch.nn import Module

PIECE_ELEMENTS = 2**24  # logits at once


def is_frozen_head(head: Module) -> bool:
    """Whether this is a plain matrix that stays as it is."""
    return type(head) is Linear and not any(weight.requires_grad for weight in head.parameters())


def score_by_frozen_head(head: Linear, hidden: Tensor, targets: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """(log-probability of each target, entropy, whether the target is the likeliest), each of shape (positions,).

    hidden: (positions, width) as the head reads it. targets: (positions,) token ids. Only the log-probabilities have a
    gradient.
    """
    log_probs, entropy, is_top1 = _Scores.apply(hidden, targets, head)
    return log_probs, entropy, is_top1


class _Scores(Function):
    @staticmethod
    def forward(ctx: Any, hidden: Tensor, targets: Tensor, head: Linear) -> tuple[Tensor, Tensor, Tensor]:
        needs_gradient = ctx.needs_input_grad[0]
        rows = max(1, PIECE_ELEMENTS // head.out_features)
        pieces = [
            _score_piece(head, *piece, needs_gradient)
            for piece in zip(hidden.split(rows), targets.split(rows), strict=True)
        ]
        log_probs, entropy, is_top1, gradients = (torch.cat(tensors) for tensors in zip(*pieces, strict=True))
        ctx.save_for_backward(gradients)
        ctx.mark_non_differentiable(entropy, is_top1)
        return log_probs, entropy, is_top1

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[Tensor, None, None]:
        (gradients,) = ctx.saved_tensors
        return gradients * grad_outputs[0][:, None].to(gradients.dtype), None, None


def _score_piece(
    head: Linear, hidden: Tensor, targets: Tensor, needs_gradient: bool
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """(log-probabilities, entropy, whether likeliest, gradient of each log-probability with respect to its hidden state) of
    some positions; the last is empty where it is not needed."""
    logits = head(hidden)
    dtype, logits = logits.dtype, logits.float()
    is_top1 = logits.argmax(-1) == targets
    log_normaliser = logits.logsumexp(-1, keepdim=True)
    log_all = logits.sub_(log_normaliser)
    log_probs = log_all.gather(-1, targets[:, None])[:, 0]
    probs = log_all.exp()
    entropy = -log_all.mul_(probs).sum(-1)
    if not needs_gradient:
        return log_probs, entropy, is_top1, hidden.new_empty(0, hidden.shape[-1])
    probs[torch.arange(len(targets), device=targets.device), targets] -= 1
    gradients = -(probs.to(dtype) @ head.weight.to(dtype))
    return log_probs, entropy, is_top1, gradients.to(hidden.dtype)
