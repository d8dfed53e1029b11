"""Reward functions built from a Spec's rewards, in a process of their own where they need one."""

from __future__ import annotations

from app.engine.contracts import RewardFunction, load_reward
from app.engine.reward_runtime.pool import PooledReward
from app.engine.reward_runtime.reward import PerRowReward
from app.setup.spec import Reward


def build_reward(reward: Reward, device: str = "cpu") -> RewardFunction:
    """The reward function of a resolved Reward; its `__name__` is the label, which TRL logs.

    Slow ones run in their own processes.

    device: for a reward model.
    """
    definition = load_reward(reward.name)
    reward_function = definition.make(definition.params.model_validate(reward.params))
    if definition.needs_own_process:
        assert isinstance(reward_function, PerRowReward), "a process scores one answer at a time"
        reward_function = PooledReward(reward, reward_function)
    reward_function.__name__ = reward.label
    if hasattr(reward_function, "device"):
        reward_function.device = device
    return reward_function
