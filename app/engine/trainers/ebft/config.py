"""Configuration that both EBFT trainers read."""

from __future__ import annotations

from dataclasses import dataclass

from app.engine.contracts import SamplingSettings
from app.engine.trainers.ebft.blocks import BlockPlan
from app.engine.trainers.ebft.feature_rewards import Estimator, RewardWeights

REWARD_LABEL = "meaning"  # label of its reward curve


@dataclass(frozen=True)
class EbftConfig:
    """attempts: for each prompt or block.

    rl_weight: of the policy gradient in the loss; ce_weight: of the references' cross-entropy.
    """

    plan: BlockPlan
    weights: RewardWeights
    sampling: SamplingSettings
    attempts: int = 4
    estimator: Estimator = "rloo"
    rl_weight: float = 1.0
    ce_weight: float = 0.0
