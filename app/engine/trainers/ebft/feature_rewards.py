"""Rewards: how much an answer's features earn beside the true ones, and what each attempt is worth among its group: pure sums.

Features of `written` answers have the shape (…, attempts, features), those of the `truth` (…, features). The formulas are
those of energy-based fine-tuning (Jelassi et al. 2026, arXiv 2603.12248), as axolotl's guide writes them down.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

RANK = 1e-3  # of the largest singular value: directions below it are rounding, not features
ESTIMATORS = ("rloo", "group_norm", "reinforce")


@dataclass(frozen=True)
class Weights:
    """alignment: pull toward the truth. diversity: push away from the other attempts. whitening: evens the features out first."""

    alignment: float = 1.0
    diversity: float = 1.0
    whitening: bool = False


@dataclass(frozen=True)
class Scores:
    """Each of shape (…, attempts), but cfm (…). likeness: the alignment before whitening; the others are as they are rewarded.

    Whitened, the squared alignments of a group add up to 1, so that only the likeness can rise while its attempts differ.
    """

    rewards: Any
    alignment: Any
    diversity: Any
    cfm: Any
    likeness: Any

    def named(self) -> dict[str, Any]:
        """By the names of their curves in the training loop."""
        return {"reward": self.rewards, "ebft/alignment": self.alignment, "ebft/diversity": self.diversity, "ebft/cfm": self.cfm,
                "ebft/likeness": self.likeness}  # fmt: skip


def scores(written: Any, truth: Any, weights: Weights) -> Scores:
    """r_j = 2·a·cos(g_j, y) − 2·d·mean over the others of g_j·g_j′."""
    written, truth = written.float(), truth.float()
    likeness = alignment(written, truth)
    if weights.whitening:
        written, truth = whitened(written, truth)
    toward, apart = alignment(written, truth), diversity(written)
    rewards = 2 * weights.alignment * toward - 2 * weights.diversity * apart
    return Scores(rewards, toward, apart, cfm(written, truth), likeness)


def alignment(written: Any, truth: Any) -> Any:
    """The cosine of each attempt with the truth."""
    from torch.nn.functional import cosine_similarity

    return cosine_similarity(written, truth.unsqueeze(-2), dim=-1)


def diversity(written: Any) -> Any:
    """The mean dot product of each attempt with the others; 0 for a single one. Low is diverse."""
    count = written.shape[-2]
    products = written @ written.transpose(-1, -2)
    alone = products.diagonal(dim1=-2, dim2=-1)
    return (products.sum(-1) - alone) / max(1, count - 1) if count > 1 else alone * 0


def cfm(written: Any, truth: Any) -> Any:
    """‖mean(g) − y‖², the conditional feature-matching loss: what all of this brings down."""
    return (written.mean(-2) - truth).square().sum(-1)


def whitened(written: Any, truth: Any) -> tuple[Any, Any]:
    """Both through W = U·diag(1/S)·Uᵀ, of the singular values of the group's written features; W itself is never made, as it
    would be features × features large."""
    import torch

    *_, values, directions = torch.linalg.svd(written, full_matrices=False)  # written = V·diag(S)·Uᵀ
    kept = values > RANK * values.amax(-1, keepdim=True)
    inverse = torch.where(kept, 1 / values.clamp(min=1e-12), 0)

    def through(vectors: Any) -> Any:
        return (vectors @ directions.transpose(-1, -2)) * inverse.unsqueeze(-2) @ directions

    return through(written), through(truth.unsqueeze(-2)).squeeze(-2)


def advantages(rewards: Any, estimator: str) -> Any:
    """What each attempt is worth among its group, shape (…, attempts). A single attempt has nothing to be compared with."""
    count = rewards.shape[-1]
    if estimator == "reinforce" or count == 1:
        return rewards
    if estimator == "rloo":  # against the mean of the others
        return rewards - (rewards.sum(-1, keepdim=True) - rewards) / (count - 1)
    centred = rewards - rewards.mean(-1, keepdim=True)
    return centred / rewards.std(-1, keepdim=True).clamp(min=1e-6)
