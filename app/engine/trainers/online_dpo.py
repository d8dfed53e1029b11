"""Contest: a model writes two answers to each prompt, and learns to prefer the one that earned more; what this adds to TRL's trainer."""

from __future__ import annotations

from math import ceil
from typing import TYPE_CHECKING, Any

from app.engine.trainers.group_rl.rollout_logging import plain
from app.engine.trainers.group_rl.trainer import failures
from app.engine.trainers.group_rl.zero_variance_groups import SAME, totals

if TYPE_CHECKING:
    import torch

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
# What TRL also logs: sums over all positions, with those after the end of an answer, which say nothing about the answers; and
# what is told under our own names, or never changes.
UNTOLD = (
    "objective/kl",
    "objective/entropy",
    "objective/non_score_reward",
    "objective/rlhf_reward",
    "val/contain_eos_token",
    "beta",
)


class Contest:
    """Part of TRL's OnlineDPOTrainer. An answer's rival is `count` rows further on or before, of twice `count`."""

    knobs: Any
    counts: torch.Tensor | None = None  # (answers,): 0 where the pair teaches nothing
    tokens = 0  # read and written in this attempt at the run

    def _tokenize_prompts(self, prompts: list[Any]) -> list[list[int]]:
        """As `_generate` reads them; for a look before training."""
        from trl.data_utils import maybe_apply_chat_template

        texts = [maybe_apply_chat_template({"prompt": prompt}, self.processing_class)["prompt"] for prompt in prompts]
        return self.processing_class(text=texts, add_special_tokens=False)["input_ids"]

    def _calculate_rewards_from_functions(self, prompts: Any, completions: Any, completion_ids_list: Any, **columns: Any) -> torch.Tensor:  # fmt: skip
        """(answers,): the total of each. TRL's own, but it keeps what each reward said, and which pairs teach something."""
        import torch

        told = [reward(prompts=prompts, completions=completions, completion_ids=completion_ids_list, trainer_state=self.state, **columns)
                for reward in self.reward_funcs]  # fmt: skip
        earned = torch.tensor([[torch.nan if one is None else one for one in values] for values in told], dtype=torch.float32, device=self.accelerator.device).T  # fmt: skip
        self.said, self.scored, self.failed = completions, earned, failures(self.reward_funcs, len(completions))
        ended = self.ended(torch.tensor(completion_ids_list, device=earned.device))
        # TRL would take this off later, when it is decided already which pairs teach something
        summed = totals(earned, self.reward_weights).nan_to_num(0) - self.knobs.unfinished_penalty * ~ended
        lost = torch.tensor(self.failed, device=earned.device)
        ties = (summed - rivals(summed)).abs() <= SAME
        self.counts = (~(lost | rivals(lost) | (ties & self.knobs.skip_ties))).float()
        if self.model.training:
            self.note(prompts, completions, earned, summed, ties)
        return summed

    def note(
        self, prompts: Any, completions: Any, earned: torch.Tensor, summed: torch.Tensor, ties: torch.Tensor
    ) -> None:
        """For the curves, and for the attempts that are shown: rivals next to each other."""
        self.stats.setdefault("policy/silent_groups", []).append(ties.float().mean().item())
        for name, values in zip(self.reward_func_names, earned.T, strict=True):
            self.stats.setdefault(f"rewards/{name}/mean", []).append(values.nanmean().item())
        rows = [row for first in range(len(prompts) // 2) for row in (first, first + len(prompts) // 2)]
        self._logs = {
            "prompt": [prompts[row] for row in rows],
            "completion": [completions[row] for row in rows],
            "rewards": {name: earned[rows, place].tolist() for place, name in enumerate(self.reward_func_names)},
            "advantages": ((summed - rivals(summed)) / 2)[rows].tolist(),
        }

    def ended(self, ids: torch.Tensor) -> torch.Tensor:
        """(answers,): was it finished, or cut off?"""
        import torch

        return torch.isin(ids, torch.tensor(self.eos_token_ids, device=ids.device)).any(1)

    def _generate(self, model: Any, prompts: Any, images: Any = None) -> Any:

        _, asked, ids, mask, _ = found = super()._generate(model, prompts, images)
        if self.model.training:
            ended = self.ended(ids)
            self.tokens += int(asked.sum() + mask.sum())
            self.stats.setdefault("policy/length", []).append(mask.sum(1).float().mean().item())
            self.stats.setdefault("policy/cut_off", []).append((~ended).float().mean().item())
        return found

    def _forward(self, model: Any, prompt_ids: Any, prompt_mask: Any, completion_ids: Any, completion_mask: Any, vision: Any = None) -> torch.Tensor:  # fmt: skip
        """How likely each token is; called for the model itself, then for its start. Pairs that teach nothing get no gradient."""
        likely = super()._forward(model, prompt_ids, prompt_mask, completion_ids, completion_mask, vision)
        if likely.requires_grad:
            parts = getattr(self, "current_gradient_accumulation_steps", 1)  # TRL adds up their means
            likely.register_hook(
                lambda gradient: gradient * self.counts[:, None] / parts
            )  # known by the time the gradient is
            self.own = likely.detach()
        else:
            written = completion_mask.bool()
            self.stats.setdefault("policy/entropy", []).append(-self.own[written].mean().item())
            self.stats.setdefault("policy/kl", []).append((self.own - likely)[written].mean().item())
        return likely

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        if "loss" in logs:
            logs["num_tokens"] = self.tokens
        super().log({name: value for name, value in logs.items() if name not in UNTOLD}, start_time)

    def try_out(self, row: dict[str, Any], count: int) -> list[dict[str, Any]]:
        """See app/engine/preview/dry_run.py."""
        import torch

        self.model.eval()
        asked = [row["prompt"]] * ceil(count / 2)
        with torch.no_grad():
            _, _, ids, *_ = self._generate(self.model, asked)
        texts = self.processing_class.batch_decode(ids, skip_special_tokens=True)
        turns = [[{"role": "assistant", "content": text}] for text in texts] if isinstance(row["prompt"], list) else texts  # fmt: skip
        columns = {name: [value] * len(texts) for name, value in row.items() if name != "prompt"}
        self._calculate_rewards_from_functions(2 * asked, turns, ids.tolist(), **columns)
        names = self.reward_func_names
        return [{"text": plain(text), "rewards": dict(zip(names, values, strict=True)), "failed": failed}
                for text, values, failed in zip(self.said, self.scored.tolist(), self.failed, strict=True)][:count]  # fmt: skip


def rivals(values: torch.Tensor) -> torch.Tensor:
    """(answers,): what the other answer to the same prompt has; rivals stand half the length apart."""
    return values.roll(len(values) // 2)
