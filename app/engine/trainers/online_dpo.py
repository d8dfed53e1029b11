"""Extension of TRL's OnlineDPOTrainer, which samples two completions of each prompt and learns to prefer the one with the higher reward."""

from __future__ import annotations

from math import ceil
from typing import TYPE_CHECKING, Any, Protocol

from app.data.conversations.messages import last_message_text
from app.engine.trainers.group_rl.rollout_logging import Completion, RolloutLoggingMixin, RolloutLogs
from app.engine.trainers.group_rl.scoring import ScoredCompletion, failed_completions, scored_completions
from app.engine.trainers.group_rl.zero_variance_groups import REWARD_TOLERANCE, total_rewards
from app.engine.trainers.mixin_bases import OnlineDPOTrainerBase

if TYPE_CHECKING:
    from PIL.Image import Image
    from torch import Tensor
    from torch.nn import Module

    from app.data.fields import Row

CURVES = {
    "policy/entropy": ("policy/entropy", "how surprising the model finds its own words"),
    "policy/kl": ("policy/kl", "distance from the start"),
    "policy/length": ("policy/length", "length of an answer, in tokens"),
    "policy/cut_off": ("policy/cut_off", "share of answers cut off"),
    "policy/silent_groups": ("policy/silent_groups", "share of prompts whose two answers earned the same"),
    "objective/scores": ("reward/mean", "reward in total"),
    "objective/scores_margin": ("reward/margin", "reward between the better and the worse answer"),
    "rewards/accuracies": ("prefer/accuracy", "better answer preferred"),
    "rewards/margins": ("prefer/margin", "margin between better and worse"),
    "rewards/chosen": ("prefer/chosen", "better answers"),
    "rewards/rejected": ("prefer/rejected", "worse answers"),
}
# Metrics of TRL that are not shown: sums over all positions, also those after the end of a completion, which say
# nothing about it; metrics that are logged under other names here; and those that never change.
_UNLOGGED_METRICS = (
    "objective/kl",
    "objective/entropy",
    "objective/non_score_reward",
    "objective/rlhf_reward",
    "val/contain_eos_token",
    "beta",
)


class PairKnobs(Protocol):
    """The settings that the trainer reads; app/engine/methods/online_dpo.py declares them."""

    skip_ties: bool
    unfinished_penalty: float


class OnlineDPOMixin(OnlineDPOTrainerBase):
    """Keeps single rewards, and leaves pairs without a loss out. A batch of 2n completions has the two of a prompt in rows i and i + n."""

    knobs: PairKnobs
    _logs: RolloutLogs
    pair_mask: Tensor | None = None  # (completions,): 0 where the pair has no loss
    num_tokens_seen = 0  # of prompts and completions, since the run was started or resumed

    def _tokenize_prompts(self, prompts: list[Completion]) -> list[list[int]]:
        """The token ids as `_generate` reads them; for the preview."""
        from trl.data_utils import maybe_apply_chat_template

        rows: list[Row] = [{"prompt": prompt} for prompt in prompts]
        texts = [maybe_apply_chat_template(row, self.processing_class)["prompt"] for row in rows]
        return self.processing_class(text=texts, add_special_tokens=False)["input_ids"]

    def _calculate_rewards_from_functions(
        self,
        prompts: list[Completion],
        completions: list[Completion],
        completion_ids_list: list[list[int]],
        **columns: list[Any],
    ) -> Tensor:
        """(completions,): the total reward of each. As TRL's, but it keeps the single rewards and sets `pair_mask`."""
        import torch

        columns |= {"prompts": prompts, "completions": completions, "completion_ids": completion_ids_list}
        rewards_by_func = [
            [torch.nan if reward is None else reward for reward in reward_func(log_metric=None, **columns)]
            for reward_func in self.reward_funcs
        ]
        rewards_per_func = torch.tensor(rewards_by_func, dtype=torch.float32, device=self.accelerator.device).T
        self.last_completions, self.last_rewards = completions, rewards_per_func
        self.last_failed = failed_completions(self.reward_funcs, len(completions))
        has_ended = self._has_ended(torch.tensor(completion_ids_list, device=rewards_per_func.device))
        # TRL subtracts the penalty later, when `pair_mask` is already set
        penalties = self.knobs.unfinished_penalty * ~has_ended
        totals_per_completion = total_rewards(rewards_per_func, self.reward_weights).nan_to_num(0) - penalties
        failed = torch.tensor(self.last_failed, device=rewards_per_func.device)
        ties = (totals_per_completion - _swap_pair_members(totals_per_completion)).abs() <= REWARD_TOLERANCE
        self.pair_mask = (~(failed | _swap_pair_members(failed) | (ties & self.knobs.skip_ties))).float()
        if self.model.training:
            self._log_rollouts(prompts, completions, rewards_per_func, totals_per_completion, ties)
        return totals_per_completion

    def _log_rollouts(
        self,
        prompts: list[Completion],
        completions: list[Completion],
        rewards_per_func: Tensor,
        totals_per_completion: Tensor,
        ties: Tensor,
    ) -> None:
        """Fills the metrics, and `_logs`, from which sampled completions are shown: the two of a prompt next to each other."""
        self.stats.setdefault("policy/silent_groups", []).append(ties.float().mean().item())
        for name, rewards in zip(self.reward_func_names, rewards_per_func.T, strict=True):
            self.stats.setdefault(f"rewards/{name}/mean", []).append(rewards.nanmean().item())
        rows = [row for first in range(len(prompts) // 2) for row in (first, first + len(prompts) // 2)]
        self._logs = {
            "prompt": [prompts[row] for row in rows],
            "completion": [completions[row] for row in rows],
            "rewards": dict(zip(self.reward_func_names, rewards_per_func[rows].T.tolist(), strict=True)),
            "advantages": ((totals_per_completion - _swap_pair_members(totals_per_completion)) / 2)[rows].tolist(),
        }

    def _has_ended(self, completion_ids: Tensor) -> Tensor:
        """(completions,): whether it has an end-of-sequence token; otherwise it was truncated."""
        import torch

        return torch.isin(completion_ids, torch.tensor(self.eos_token_ids, device=completion_ids.device)).any(1)

    def _generate(
        self, model: Module, prompts: list[Completion], images: list[Image] | None = None
    ) -> tuple[list[Completion], Tensor, Tensor, Tensor, Tensor]:
        _, prompt_mask, completion_ids, completion_mask, _ = generated = super()._generate(model, prompts, images)
        if self.model.training:
            has_ended = self._has_ended(completion_ids)
            self.num_tokens_seen += int(prompt_mask.sum() + completion_mask.sum())
            self.stats.setdefault("policy/length", []).append(completion_mask.sum(1).float().mean().item())
            self.stats.setdefault("policy/cut_off", []).append((~has_ended).float().mean().item())
        return generated

    def _forward(
        self,
        model: Module,
        prompt_ids: Tensor,
        prompt_mask: Tensor,
        completion_ids: Tensor,
        completion_mask: Tensor,
        vision_inputs: dict[str, Tensor] | None = None,
    ) -> Tensor:
        """(completions, tokens): log-probabilities; TRL calls it for the model, then for the reference. Pairs that pair_mask
        excludes get no gradient."""
        logps: Tensor = super()._forward(model, prompt_ids, prompt_mask, completion_ids, completion_mask, vision_inputs)
        if logps.requires_grad:
            accumulation_steps = getattr(self, "current_gradient_accumulation_steps", 1)  # TRL adds up their means
            logps.register_hook(lambda gradient: self._mask_gradient(gradient) / accumulation_steps)
            self._policy_logps = logps.detach()
        else:
            is_completion_token = completion_mask.bool()
            policy_logps, ref_logps = self._policy_logps[is_completion_token], logps[is_completion_token]
            self.stats.setdefault("policy/entropy", []).append(-policy_logps.mean().item())
            self.stats.setdefault("policy/kl", []).append((policy_logps - ref_logps).mean().item())
        return logps

    def _mask_gradient(self, gradient: Tensor) -> Tensor:
        """The gradient of the completions' log-probabilities, zero for pairs without a loss."""
        assert self.pair_mask is not None, "the backward pass comes after the rewards"
        return gradient * self.pair_mask[:, None]

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        if "loss" in logs:
            logs["num_tokens"] = self.num_tokens_seen
        super().log({name: metric for name, metric in logs.items() if name not in _UNLOGGED_METRICS}, start_time)

    def sample_scored_completions(self, row: Row, count: int) -> list[ScoredCompletion]:
        """`count` completions of a row's prompt."""
        import torch

        self.model.eval()
        prompts = [row["prompt"]] * ceil(count / 2)
        with torch.no_grad():
            _, _, completion_ids, *_ = self._generate(self.model, prompts)
        texts = self.processing_class.batch_decode(completion_ids, skip_special_tokens=True)
        is_chat = isinstance(row["prompt"], list)
        completions: list[Completion] = [
            [{"role": "assistant", "content": text}] if is_chat else text for text in texts
        ]
        columns = {name: [cell] * len(texts) for name, cell in row.items() if name != "prompt"}
        self._calculate_rewards_from_functions(2 * prompts, completions, completion_ids.tolist(), **columns)
        texts = [last_message_text(completion) for completion in self.last_completions]
        return scored_completions(texts, self.reward_func_names, self.last_rewards, self.last_failed)[:count]


def _swap_pair_members(per_completion: Tensor) -> Tensor:
    """(completions,): for each completion the entry of the other one of its pair, half the length away."""
    return per_completion.roll(len(per_completion) // 2)


ONLINE_DPO_MIXINS = (
    RolloutLoggingMixin,  # shows a few completions with their rewards as events of the run
    OnlineDPOMixin,  # keeps single rewards, and leaves pairs without a loss out
)  # over TRL's OnlineDPOTrainer
