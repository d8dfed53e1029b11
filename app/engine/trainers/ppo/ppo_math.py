"""PPO's formulas, each by itself: rewards and values of tokens become advantages, and those become losses.

Everything is a tensor of (answers, tokens). mask: 1 where a token of an answer stands, 0 before and after it.
After Schulman et al. 2017 (arXiv 1707.06347), and as InstructGPT (2203.02155) applies it to language.
"""

from __future__ import annotations

from typing import Any

LEAST = 1e-8  # keeps a division by a spread of zero finite


def masked_mean(values: Any, mask: Any) -> Any:
    """Over the tokens that count; 0 when none does."""
    return (values * mask).sum() / mask.sum().clamp(min=1)


def whitened(values: Any, mask: Any) -> Any:
    """With mean 0 and spread 1 over the tokens that count, and 0 elsewhere."""
    mean = masked_mean(values, mask)
    spread = masked_mean((values - mean) ** 2, mask)
    return (values - mean) * (spread + LEAST).rsqrt() * mask


def token_rewards(scores: Any, logps: Any, reference_logps: Any, mask: Any, kl: float) -> Any:
    """What each token earns: the answer's score at its last token, and everywhere −kl · (log p − log p_reference).

    scores: (answers,).
    """
    rewards = -kl * (logps - reference_logps) * mask
    last = mask.cumsum(-1).argmax(-1)  # the first place that holds the largest count: the last token of the answer
    rows = range(len(scores))
    rewards[rows, last] += scores * (mask.sum(-1) > 0)
    return rewards


def advantages(rewards: Any, values: Any, mask: Any, discount: float, trace: float) -> Any:
    """Generalised advantage estimation (Schulman et al. 2016, 1506.02438), from the last token to the first:
    A_t = δ_t + discount · trace · A_{t+1} with δ_t = r_t + discount · V_{t+1} − V_t; after the last token V and A are 0.
    """
    import torch

    found = torch.zeros_like(rewards)
    later, value_later = torch.zeros_like(rewards[:, 0]), torch.zeros_like(rewards[:, 0])
    for place in reversed(range(rewards.shape[1])):
        here = mask[:, place]
        delta = rewards[:, place] + discount * value_later - values[:, place]
        later = (delta + discount * trace * later) * here
        value_later = values[:, place] * here
        found[:, place] = later
    return found


def policy_loss(logps: Any, old_logps: Any, gains: Any, clip: float) -> tuple[Any, Any]:
    """(loss of each token, whether it was clipped): −min(ratio · A, clip(ratio, 1 − clip, 1 + clip) · A)."""
    ratio = (logps - old_logps).exp()
    free, held = -gains * ratio, -gains * ratio.clamp(1 - clip, 1 + clip)
    return free.maximum(held), held > free


def value_loss(values: Any, old_values: Any, returns: Any, clip: float) -> Any:
    """Of each token: ½ · max((V − R)², (V held within `clip` of what it was − R)²)."""
    held = old_values + (values - old_values).clamp(-clip, clip)
    return 0.5 * ((values - returns) ** 2).maximum((held - returns) ** 2)


def divergence(logps: Any, reference_logps: Any) -> Any:
    """How far each token is from the reference: exp(d) − d − 1 with d = log p_reference − log p, never negative, and on
    average the Kullback-Leibler divergence (Schulman's k3)."""
    apart = reference_logps - logps
    return apart.exp() - apart - 1


def explained(values: Any, returns: Any, mask: Any) -> Any:
    """1 when the values foretold the returns, 0 when no better than their mean, negative when worse."""
    spread = masked_mean((returns - masked_mean(returns, mask)) ** 2, mask)
    missed = returns - values
    return 1 - masked_mean((missed - masked_mean(missed, mask)) ** 2, mask) / spread.clamp(min=LEAST)
