"""Structured: what makes TRL's GRPOTrainer compare whole answers with true ones: its one reward, and the loss on the true words."""

from __future__ import annotations

from typing import Any

from app.engine.ebft.features import Network, padded
from app.engine.ebft.likelihood import cross_entropy, learned
from app.engine.ebft.rewards import Scores, scores
from app.engine.ebft.rows import longest_answer, tokens
from app.engine.ebft.settings import REWARD, Settings
from app.rows import Row


class Structured:
    """Rows: prompt, and truth, the true answer. Advantages, clipping and averaging are GRPO's own."""

    def __init__(self, *, settings: Settings, network: Network, words: Any, times: float, **loop: Any):
        """words: the tokenizer, with the template's arguments. times: attempts may get so many times as long as the true answers;
        0: as long as max_completion_length."""
        self.settings, self.network, self.words, self.times = settings, network, words, times
        super().__init__(reward_funcs=[self.reward()], **loop)

    def reward(self) -> Any:
        """The reward function, as TRL calls it."""

        def reward(prompts: list[Any], completion_ids: list[list[int]], truth: list[Any], log_metric: Any, **_: Any) -> list[float]:  # fmt: skip
            found = self.judge(prompts, completion_ids, truth)
            for name, value in found.named().items():
                if name != "reward":  # TRL tells it itself
                    log_metric(name, value.mean().item())
            return found.rewards.flatten().tolist()

        reward.__name__ = REWARD
        return reward

    def judge(self, prompts: list[Any], written: list[list[int]], truth: list[Any]) -> Scores:
        """Of shape (questions, attempts). Every `attempts` rows in turn are of one question."""
        count = self.settings.attempts
        told = [tokens(*row, self.words) for row in zip(prompts[::count], truth[::count], strict=True)]
        asked, answers = [prompt for prompt, _ in told], [answer for _, answer in told]
        found = self.network.texts(self, [prompt for prompt in asked for _ in range(count)], written)
        wanted = self.network.texts(self, asked, answers)
        return scores(found.unflatten(0, (-1, count)), wanted, self.settings.weights)

    def truth(self, row: Row) -> list[int]:
        """What stands beside a question, for a look before training; see app/engine/captured.py."""
        return tokens(row["prompt"], row["truth"], self.words)[1]

    def _generate_and_score_completions(self, inputs: list[Row]) -> dict[str, Any]:
        import torch

        told = [tokens(row["prompt"], row["truth"], self.words) for row in inputs]
        lengths = [len(answer) for _, answer in told]
        self.generation_config.max_new_tokens = longest_answer(lengths, self.times, self.max_completion_length)
        made = super()._generate_and_score_completions(inputs)
        if self.settings.ce_weight:
            ids, mask = padded([prompt + answer for prompt, answer in told], self.accelerator.device)
            begins = torch.tensor([len(prompt) for prompt, _ in told], device=ids.device)
            made |= {"true_ids": ids, "true_mask": mask, "true_labels": learned(ids, mask, begins)}
        return made

    def _compute_loss(self, model: Any, inputs: dict[str, Any]) -> Any:
        import torch

        loss = self.settings.rl_weight * super()._compute_loss(model, inputs)
        if not self.settings.ce_weight:
            return loss
        rows = torch.stack([inputs[f"true_{name}"] for name in ("ids", "mask", "labels")], dim=1)
        once, often = rows.unique(dim=0, return_counts=True)  # the attempts at a question share its truth
        ce = cross_entropy(model, *once.unbind(1), weights=often)
        self._metrics["train"]["ce"].append(ce.item())
        return loss + self.settings.ce_weight * ce / self.current_gradient_accumulation_steps
