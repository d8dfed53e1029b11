"""Silence: groups whose attempts all earned the same teach nothing, so nothing is spent on them; and they are counted."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch

SAME = 1e-6  # totals closer than this are the same


class Silencing:
    """Part of a trainer of groups (app/engine/trainers/group_rl/trainer.py). After each round of answers `quiet` says which groups teach nothing."""

    knobs: Any
    earned: torch.Tensor
    quiet: torch.Tensor

    def _generate_and_score_completions(self, inputs: list[dict[str, Any]]) -> dict[str, Any]:
        batch = super()._generate_and_score_completions(inputs)
        if not self.model.training:
            return batch
        self.quiet = silent(self.judged(), self.num_generations)
        self._metrics["train"]["silent_groups"].append(self.quiet.float().mean().item())
        if not self.pulls:  # what rounding left over would be scaled up by the optimizer where nothing else teaches
            batch["advantages"] = batch["advantages"].masked_fill(self.quiet.repeat_interleave(self.num_generations), 0.0)  # fmt: skip
        return batch

    def judged(self) -> torch.Tensor:
        """(answers, rewards) by which attempts differ: the total, or each reward where each is compared by itself."""
        if getattr(self, "multi_objective_aggregation", "") == "normalize_then_sum":
            return self.earned
        summed, limits = totals(self.earned, self.reward_weights), getattr(self.args, "reward_clip_range", None)
        return (summed.clamp(*limits) if limits else summed)[:, None]

    @property
    def pulls(self) -> bool:
        """Does RLOO's pull back to the start sit in the advantages, so that equal rewards still teach something?"""
        return not hasattr(self, "loss_type") and self.beta != 0.0

    @property
    def only_advantages_teach(self) -> bool:
        """Nothing else is in the loss: no pull to the start, no bonus, no choice of tokens that looks at the whole batch."""
        if self.aux_loss_enabled or not hasattr(self, "loss_type"):
            return not self.aux_loss_enabled
        return self.beta == 0.0 and not self._entropy_bonus_enabled and self.top_entropy_quantile == 1.0

    def _compute_loss(self, model: Any, inputs: dict[str, Any]) -> torch.Tensor:
        import torch

        kept = inputs["advantages"] != 0
        if kept.all() or not (self.knobs.skip_silent and self.model.training and self.only_advantages_teach):
            return super()._compute_loss(model, inputs)
        if not kept.any():  # no gradient at all: the optimizer leaves every weight as it is
            return torch.zeros((), device=kept.device, requires_grad=True)
        if "num_images" in inputs:  # pictures are not one a row
            return super()._compute_loss(model, inputs)
        return super()._compute_loss(model, some(inputs, kept)) * share(getattr(self, "loss_type", "rloo"), inputs, kept)  # fmt: skip


def silent(judged: torch.Tensor, size: int) -> torch.Tensor:
    """(groups,): did all attempts of a group earn the same by every column? An attempt without a number says nothing.

    judged: (answers, columns), `size` answers a group, NaN where there is no number.
    """
    import torch

    groups = judged.view(-1, size, judged.shape[1])
    highest = torch.nan_to_num(groups, nan=-torch.inf).amax(1)
    lowest = torch.nan_to_num(groups, nan=torch.inf).amin(1)
    return (highest - lowest <= SAME).all(1)


def totals(earned: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
    """(answers,): the weighted sum of (answers, rewards), as TRL's; NaN where no reward gave a number."""
    summed = (earned * weights.to(earned.device)).nansum(1)
    summed[earned.isnan().all(1)] = float("nan")
    return summed


def some(batch: dict[str, Any], kept: torch.Tensor) -> dict[str, Any]:
    """The rows of a batch that are kept; numbers about all of it stay."""
    return {name: value[kept] if value is not None and value.ndim else value for name, value in batch.items()}


def own_words(batch: dict[str, Any]) -> torch.Tensor:
    """(answers, tokens): 1 where the model wrote it, 0 for padding and for what a tool said."""
    return batch["completion_mask"] * batch.get("tool_mask", 1)


def share(loss: str, batch: dict[str, Any], kept: torch.Tensor) -> torch.Tensor | float:
    """What the loss of the kept rows is multiplied by to be that of the batch, in which the others are zero."""
    if loss in ("dapo", "cispo", "vespo"):
        return 1.0  # divided by the tokens of all answers of the round, whoever is there
    if loss == "bnpo":
        mask = own_words(batch)
        return mask[kept].sum().clamp(min=1) / mask.sum().clamp(min=1)
    return kept.float().mean()
