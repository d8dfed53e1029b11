"""Settings: what the trainers are told, apart from how it is named on the page."""

from __future__ import annotations

from dataclasses import dataclass

from app.engine.trainers.ebft.blocks import Plan
from app.engine.trainers.ebft.feature_rewards import Weights

REWARD = "meaning"  # as its curve is called


@dataclass(frozen=True)
class Settings:
    """attempts: at each question or block. rl_weight, ce_weight: of the attempts' rewards, and of the true words, in the loss."""

    plan: Plan
    weights: Weights
    attempts: int = 4
    temperature: float = 0.6
    top_p: float = 1.0
    top_k: int = 0
    min_p: float = 0.0
    estimator: str = "rloo"
    rl_weight: float = 1.0
    ce_weight: float = 0.0
