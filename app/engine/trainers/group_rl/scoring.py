"""Rewards of the completions of a group: those on which a reward failed are left out, and single prompts can be scored."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, TypedDict

from app.engine.trainers.group_rl.rollout_logging import Completion, completion_text
from app.engine.trainers.mixin_bases import GRPOTrainerBase

if TYPE_CHECKING:
    from torch import Tensor

    from app.data.fields import Row
    from app.engine.reward_runtime.error_policy import RewardErrorPolicy


class ScoredCompletion(TypedDict):
    """A completion with its rewards by name; app/engine/preview/dry_run.py shows them."""

    text: str
    rewards: dict[str, float]  # NaN where a reward gave no number
    failed: bool  # some reward could not score it though it should have


class ScoringMixin(GRPOTrainerBase):
    """Leaves completions on which a reward failed out of their group, keeps the single rewards, and scores single prompts."""

    rewards_per_func: Tensor  # (completions, rewards) of the latest round, NaN where a reward gave no number
    last_completions: list[Completion]
    last_rewards: Tensor  # as rewards_per_func, before failed completions were left out
    last_failed: list[bool]

    def _calculate_rewards(
        self,
        inputs: list[Row],
        prompts: list[Completion],
        completions: list[Completion],
        completion_ids_list: list[list[int]],
    ) -> Tensor:
        import torch

        rewards_per_func: Tensor = super()._calculate_rewards(inputs, prompts, completions, completion_ids_list)
        self.last_completions, self.last_rewards = completions, rewards_per_func.clone()
        self.last_failed = failed_completions(self.reward_funcs, len(prompts))
        failed = torch.tensor(self.last_failed, device=rewards_per_func.device)
        rewards_per_func[failed] = torch.nan  # TRL leaves such completions out
        self.rewards_per_func = rewards_per_func
        return rewards_per_func

    def sample_scored_completions(self, row: Row, count: int) -> list[ScoredCompletion]:
        """`count` completions of a row's prompt."""
        import torch

        self.model.eval()
        self.num_generations_eval = count
        with torch.no_grad():
            self._generate_and_score_completions([dict(row) for _ in range(count)])
        texts = [completion_text(completion) for completion in self.last_completions]
        return scored_completions(texts, self.reward_func_names, self.last_rewards, self.last_failed)


def scored_completions(
    texts: list[str], reward_names: list[str], rewards_per_func: Tensor, failed: list[bool]
) -> list[ScoredCompletion]:
    """The completions with their rewards, which are (completions, rewards)."""
    return [
        {"text": text, "rewards": dict(zip(reward_names, rewards, strict=True)), "failed": has_failed}
        for text, rewards, has_failed in zip(texts, rewards_per_func.tolist(), failed, strict=True)
    ]


def failed_completions(rewards: Iterable[RewardErrorPolicy], count: int) -> list[bool]:
    """(completions,): whether some reward failed to score it, see app/engine/reward_runtime/error_policy.py."""
    failed_by_reward = [reward.failed for reward in rewards if reward.failed]
    return [any(failed[row] for failed in failed_by_reward) for row in range(count)]
