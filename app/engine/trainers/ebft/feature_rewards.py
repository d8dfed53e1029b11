"""Feature-matching rewards and group advantages of EBFT, as pure tensor functions.

`features` of generated attempts have the shape (…, attempts, features), those of the `reference` (…, features). The
formulas are those of energy-based fine-tuning (Jelassi et al. 2026, arXiv 2603.12248), as axolotl's guide writes them
down.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, get_args

if TYPE_CHECKING:
    from torch import Tensor

_RELATIVE_RANK_TOLERANCE = 1e-3  # of the largest singular value: directions below it are rounding, not features
Estimator = Literal["rloo", "group_norm", "reinforce"]
ESTIMATORS: tuple[Estimator, ...] = get_args(Estimator)


@dataclass(frozen=True)
class RewardWeights:
    """alignment: weight of the pull toward the reference.

    diversity: of the push away from other attempts. whitening: of features first.
    """

    alignment: float = 1.0
    diversity: float = 1.0
    whitening: bool = False


@dataclass(frozen=True)
class FeatureScores:
    """Scores of shape (…, attempts), but cfm (…).

    unwhitened_alignment: before whitening; the others enter the reward as they are.

    With whitening the squared alignments of a group add up to 1, so only unwhitened_alignment can rise while the
    attempts differ.
    """

    rewards: Tensor
    alignment: Tensor
    diversity: Tensor
    cfm: Tensor
    unwhitened_alignment: Tensor

    def metrics(self) -> dict[str, Tensor]:
        """{metric name in the training log: scores}"""
        return {
            "reward": self.rewards,
            "ebft/alignment": self.alignment,
            "ebft/diversity": self.diversity,
            "ebft/cfm": self.cfm,
            "ebft/likeness": self.unwhitened_alignment,
        }


def score_features(features: Tensor, reference: Tensor, weights: RewardWeights) -> FeatureScores:
    """Reward of attempt j: r_j = 2·a·cos(g_j, y) − 2·d·mean over the other attempts of g_j·g_j′."""
    features, reference = features.float(), reference.float()
    unwhitened_alignment = alignment(features, reference)
    if weights.whitening:
        features, reference = whiten(features, reference)
    alignments, diversities = alignment(features, reference), diversity(features)
    rewards = 2 * weights.alignment * alignments - 2 * weights.diversity * diversities
    return FeatureScores(
        rewards, alignments, diversities, _feature_matching_loss(features, reference), unwhitened_alignment
    )


def alignment(features: Tensor, reference: Tensor) -> Tensor:
    """Cosine similarity of each attempt with the reference, shape (…, attempts)."""
    from torch.nn.functional import cosine_similarity

    return cosine_similarity(features, reference.unsqueeze(-2), dim=-1)


def diversity(features: Tensor) -> Tensor:
    """Mean dot product of each attempt with the others, shape (…, attempts); 0 for a single attempt.

    Low means diverse.
    """
    attempts = features.shape[-2]
    products = features @ features.transpose(-1, -2)
    squared_norms = products.diagonal(dim1=-2, dim2=-1)
    return (products.sum(-1) - squared_norms) / max(1, attempts - 1) if attempts > 1 else squared_norms * 0


def _feature_matching_loss(features: Tensor, reference: Tensor) -> Tensor:
    """‖mean(g) − y‖², shape (…): the conditional feature-matching loss, which the method minimises."""
    return (features.mean(-2) - reference).square().sum(-1)


def whiten(features: Tensor, reference: Tensor) -> tuple[Tensor, Tensor]:
    """Both arguments multiplied by W = U·diag(1/S)·Uᵀ, from the singular values of the group's features.

    W itself is never built, since it would have features × features elements.
    """
    import torch

    *_, singular_values, directions = torch.linalg.svd(features, full_matrices=False)  # written = V·diag(S)·Uᵀ
    is_significant = singular_values > _RELATIVE_RANK_TOLERANCE * singular_values.amax(-1, keepdim=True)
    inverse = torch.where(is_significant, 1 / singular_values.clamp(min=1e-12), 0)

    def project(vectors: Tensor) -> Tensor:
        return (vectors @ directions.transpose(-1, -2)) * inverse.unsqueeze(-2) @ directions

    return project(features), project(reference.unsqueeze(-2)).squeeze(-2)


def advantages(rewards: Tensor, estimator: Estimator) -> Tensor:
    """Advantages within each group, shape (…, attempts).

    A single attempt keeps its reward: there is nothing to compare it with.
    """
    attempts = rewards.shape[-1]
    if estimator == "reinforce" or attempts == 1:
        return rewards
    if estimator == "rloo":  # minus the mean of the other attempts
        return rewards - (rewards.sum(-1, keepdim=True) - rewards) / (attempts - 1)
    centred = rewards - rewards.mean(-1, keepdim=True)
    return centred / rewards.std(-1, keepdim=True).clamp(min=1e-6)
