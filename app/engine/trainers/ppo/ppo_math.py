"""Formulas of PPO: token rewards and predicted values become advantages, and those become losses.

Every tensor is (completions, tokens) unless said otherwise. mask: 1 on the tokens of a completion, 0 on padding.
After Schulman et al. 2017 (arXiv 1707.06347), and as InstructGPT (2203.02155) applies it to language models.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

_EPSILON = 1e-8  # keeps a division by a variance of zero finite


def masked_mean(per_token: Tensor, mask: Tensor) -> Tensor:
    """The mean over the tokens where mask is 1, a scalar; 0 when there is none."""
    return (per_token * mask).sum() / mask.sum().clamp(min=1)


def masked_whiten(per_token: Tensor, mask: Tensor) -> Tensor:
    """Scaled to mean 0 and variance 1 over the tokens where mask is 1; 0 elsewhere."""
    mean = masked_mean(per_token, mask)
    variance = masked_mean((per_token - mean) ** 2, mask)
    return (per_token - mean) * (variance + _EPSILON).rsqrt() * mask


def token_rewards(scores: Tensor, logps: Tensor, ref_logps: Tensor, mask: Tensor, kl_coef: float) -> Tensor:
    """The reward of each token: the completion's score at its last token, and everywhere −kl_coef · (log p − log p_reference).

    scores: (completions,).
    """
    rewards = -kl_coef * (logps - ref_logps) * mask
    last_token = mask.cumsum(-1).argmax(-1)  # argmax takes the first position of the largest count: the last token
    rows = range(len(scores))
    rewards[rows, last_token] += scores * (mask.sum(-1) > 0)
    return rewards


def gae_advantages(rewards: Tensor, predicted_values: Tensor, mask: Tensor, gamma: float, gae_lambda: float) -> Tensor:
    """Generalised advantage estimation (Schulman et al. 2016, 1506.02438), from the last token to the first:
    A_t = δ_t + gamma · gae_lambda · A_{t+1} with δ_t = r_t + gamma · V_{t+1} − V_t; after the last token V and A are 0.
    """
    import torch

    advantages = torch.zeros_like(rewards)
    next_advantage, next_value = torch.zeros_like(rewards[:, 0]), torch.zeros_like(rewards[:, 0])
    for position in reversed(range(rewards.shape[1])):
        position_mask = mask[:, position]
        delta = rewards[:, position] + gamma * next_value - predicted_values[:, position]
        next_advantage = (delta + gamma * gae_lambda * next_advantage) * position_mask
        next_value = predicted_values[:, position] * position_mask
        advantages[:, position] = next_advantage
    return advantages


def policy_loss(logps: Tensor, old_logps: Tensor, advantages: Tensor, clip_range: float) -> tuple[Tensor, Tensor]:
    """(loss of each token, whether the clip took effect): −min(ratio · A, clip(ratio, 1 − clip, 1 + clip) · A)."""
    ratio = (logps - old_logps).exp()
    unclipped_loss, clipped_loss = -advantages * ratio, -advantages * ratio.clamp(1 - clip_range, 1 + clip_range)
    return unclipped_loss.maximum(clipped_loss), clipped_loss > unclipped_loss


def value_loss(predicted_values: Tensor, old_values: Tensor, returns: Tensor, clip_range: float) -> Tensor:
    """The loss of each token: ½ · max((V − R)², (V clipped to within clip_range of old V − R)²)."""
    clipped_values = old_values + (predicted_values - old_values).clamp(-clip_range, clip_range)
    return 0.5 * ((predicted_values - returns) ** 2).maximum((clipped_values - returns) ** 2)


def kl_estimate(logps: Tensor, ref_logps: Tensor) -> Tensor:
    """An estimate for each token of the Kullback-Leibler divergence from the reference: exp(d) − d − 1 with
    d = log p_reference − log p. Never negative, unbiased (Schulman's k3)."""
    log_ratio = ref_logps - logps
    return log_ratio.exp() - log_ratio - 1


def explained_variance(predicted_values: Tensor, returns: Tensor, mask: Tensor) -> Tensor:
    """A scalar: 1 when the values predict the returns exactly, 0 when no better than their mean, negative when worse."""
    variance = masked_mean((returns - masked_mean(returns, mask)) ** 2, mask)
    errors = returns - predicted_values
    return 1 - masked_mean((errors - masked_mean(errors, mask)) ** 2, mask) / variance.clamp(min=_EPSILON)
