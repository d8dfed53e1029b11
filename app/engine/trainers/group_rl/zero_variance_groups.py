"""Zero-variance groups: completions of a prompt that all earned the same have no advantage, so they are skipped and counted."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from app.engine.trainers.group_rl.rollout_logging import completion_text
from app.engine.trainers.group_rl.scoring import ScoringMixin

if TYPE_CHECKING:
    from torch import Tensor
    from torch.nn import Module

    from app.data.fields import Row
    from app.engine.trainers.group_rl.settings import GroupKnobs
    from app.engine.trainers.mixin_bases import Batch

REWARD_TOLERANCE = 1e-6  # total rewards closer than this are equal


class ZeroVarianceMixin(ScoringMixin):
    """Skips and counts such groups. `is_zero_variance` marks those of the latest round."""

    knobs: GroupKnobs
    is_zero_variance: Tensor  # (groups,)

    def _generate_and_score_completions(self, inputs: list[Row]) -> Batch:
        batch = super()._generate_and_score_completions(inputs)
        if not self.model.training:
            return batch
        self.is_zero_variance = zero_variance_mask(self._compared_rewards(), self.num_generations)
        self._metrics["train"]["silent_groups"].append(self.is_zero_variance.float().mean().item())
        self._record_answer_statistics()
        if not self._kl_is_in_advantages:
            # Exactly 0: the optimizer would scale up what rounding leaves over, where there is no other gradient.
            is_skipped = self.is_zero_variance.repeat_interleave(self.num_generations)
            batch["advantages"] = batch["advantages"].masked_fill(is_skipped, 0.0)
        return batch

    def _record_answer_statistics(self) -> None:
        """How many answers differ, and how closely the total reward follows their length: a model that says one thing to
        all, and a reward of nothing but length, are noticed by these."""
        totals = total_rewards(self.rewards_per_func, self.reward_weights).tolist()
        answers = [completion_text(completion) for completion in self.last_completions]
        self._metrics["train"]["distinct_answers"].append(len({*answers}))
        if len(answers) == len(totals):  # with several processes, each has the completions of its own
            correlation = length_correlation(totals, [*map(len, answers)])
            if correlation is not None:
                self._metrics["train"]["length_correlation"].append(correlation)

    def _compared_rewards(self) -> Tensor:
        """(completions, columns): the rewards that advantages compare: the total, or each reward where each is normalized by itself."""
        if getattr(self, "multi_objective_aggregation", "") == "normalize_then_sum":
            return self.rewards_per_func
        totals_per_completion, limits = (
            total_rewards(self.rewards_per_func, self.reward_weights),
            getattr(self.args, "reward_clip_range", None),
        )
        return (totals_per_completion.clamp(*limits) if limits else totals_per_completion)[:, None]

    @property
    def _kl_is_in_advantages(self) -> bool:
        """Whether the KL penalty is part of the advantages, as in RLOO, so that equal rewards still have a gradient."""
        return not hasattr(self, "loss_type") and self.beta != 0.0

    @property
    def _loss_needs_only_advantages(self) -> bool:
        """Whether rows without advantage add nothing to the loss: no KL term, no bonus, no selection of tokens across the batch."""
        if self.aux_loss_enabled or not hasattr(self, "loss_type"):
            return not self.aux_loss_enabled
        return self.beta == 0.0 and not self._entropy_bonus_enabled and self.top_entropy_quantile == 1.0

    def _compute_loss(self, model: Module, inputs: Batch) -> Tensor:
        import torch

        has_advantage = inputs["advantages"] != 0
        if has_advantage.all() or not (
            self.knobs.skip_silent and self.model.training and self._loss_needs_only_advantages
        ):
            return super()._compute_loss(model, inputs)
        if not has_advantage.any():  # no gradient at all: the optimizer does not change any weight
            return torch.zeros((), device=has_advantage.device, requires_grad=True)
        if "num_images" in inputs:  # images are not one for each row, so rows cannot be selected
            return super()._compute_loss(model, inputs)
        scale = loss_scale(getattr(self, "loss_type", "rloo"), inputs, has_advantage)
        return super()._compute_loss(model, select_rows(inputs, has_advantage)) * scale


def zero_variance_mask(rewards: Tensor, group_size: int) -> Tensor:
    """(groups,): whether all completions of a group earned the same in every column; those without a number are ignored.

    rewards: (completions, columns), `group_size` completions in a group, NaN where there is no number.
    """
    import torch

    groups = rewards.view(-1, group_size, rewards.shape[1])
    highest = torch.nan_to_num(groups, nan=-torch.inf).amax(1)
    lowest = torch.nan_to_num(groups, nan=torch.inf).amin(1)
    return (highest - lowest <= REWARD_TOLERANCE).all(1)


def length_correlation(totals: Sequence[float], lengths: Sequence[int]) -> float | None:
    """Pearson's correlation of rewards and lengths, from -1 to 1; None where one of them is the same for all. NaN rewards
    are left out."""
    scored = [(total, length) for total, length in zip(totals, lengths, strict=True) if not math.isnan(total)]
    try:
        return statistics.correlation(*zip(*scored, strict=True))
    except (statistics.StatisticsError, TypeError):  # fewer than two, or one of them constant
        return None


def total_rewards(rewards_per_func: Tensor, weights: Tensor) -> Tensor:
    """(completions,): the weighted sum of (completions, rewards), as in TRL; NaN where no reward gave a number."""
    totals = (rewards_per_func * weights.to(rewards_per_func.device)).nansum(1)
    totals[rewards_per_func.isnan().all(1)] = float("nan")
    return totals


def select_rows(batch: Mapping[str, Tensor | None], row_mask: Tensor) -> dict[str, Tensor | None]:
    """The rows of a batch where row_mask is True; numbers about the whole batch stay as they are."""
    return {name: column[row_mask] if column is not None and column.ndim else column for name, column in batch.items()}


def model_token_mask(batch: Batch) -> Tensor:
    """(completions, tokens): 1 on tokens that the model wrote, 0 on padding and on results of tools."""
    return batch["completion_mask"] * batch.get("tool_mask", 1)


def loss_scale(loss_type: str, batch: Batch, row_mask: Tensor) -> Tensor | float:
    """The factor from the loss of the selected rows to that of the batch, in which the other rows are zero."""
    if loss_type in ("dapo", "cispo", "vespo"):
        return 1.0  # divided by the tokens of all completions of the round, selected or not
    if loss_type == "bnpo":
        mask = model_token_mask(batch)
        return mask[row_mask].sum().clamp(min=1) / mask.sum().clamp(min=1)
    return row_mask.float().mean()
