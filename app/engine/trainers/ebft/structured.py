"""Structured: what makes TRL's GRPOTrainer compare whole answers with true ones: its one reward, and the loss on the true words."""

from __future__ import annotations

from typing import Any

from app.data.rows import Row
from app.engine.trainers.ebft.config import REWARD, Settings
from app.engine.trainers.ebft.feature_rewards import Scores, scores
from app.engine.trainers.ebft.features import Network, padded
from app.engine.trainers.ebft.likelihood import cross_entropy, filled
from app.engine.trainers.ebft.prompt_rows import longest_answer
from app.engine.trainers.ebft.tokenized_prompts import Told, Words


class Structured:
    """Rows: prompt, and truth, the true answer. Advantages, clipping and averaging are GRPO's own."""

    def __init__(self, *, settings: Settings, network: Network, words: Words, times: float, **loop: Any):
        """times: attempts may get so many times as long as the true answers; 0: as long as max_completion_length."""
        self.settings, self.network, self.words, self.times = settings, network, words, times
        self.asked: list[Told] = []  # what the batch at hand asks, one for each row
        super().__init__(reward_funcs=[self.reward()], **loop)

    def reward(self) -> Any:
        """The reward function, as TRL calls it."""

        def reward(completion_ids: list[list[int]], log_metric: Any, **_: Any) -> list[float]:
            found = self.judge(completion_ids)
            for name, value in found.named().items():
                if name != "reward":  # TRL tells it itself
                    log_metric(name, value.mean().item())
            return found.rewards.flatten().tolist()

        reward.__name__ = REWARD
        return reward

    def judge(self, written: list[list[int]]) -> Scores:
        """Of shape (questions, attempts). Every `attempts` rows in turn are of one question."""
        count = self.settings.attempts
        found = self.network.texts(self, [told.prompt for told in self.asked], written)
        once = self.asked[::count]
        wanted = self.network.texts(self, [told.prompt for told in once], [told.answer for told in once])
        return scores(found.unflatten(0, (-1, count)), wanted, self.settings.weights)

    def truth(self, row: Row) -> tuple[list[int], list[int]]:
        """(tokens, labels) of what stands beside a question, for a look before training; see app/engine/preview/trainer_capture.py."""
        told = self.words.told(row["prompt"], row["truth"])
        return told.answer, told.labels[len(told.prompt) :]

    def _generate_and_score_completions(self, inputs: list[Row]) -> dict[str, Any]:
        self.asked = [self.words.told(row["prompt"], row["truth"]) for row in inputs]
        lengths = [len(answer) for told in self.asked for answer in told.answers]
        self.generation_config.max_new_tokens = longest_answer(lengths, self.times, self.max_completion_length)
        made = super()._generate_and_score_completions(inputs)
        if self.settings.ce_weight:
            ids, mask = padded([told.prompt + told.answer for told in self.asked], self.accelerator.device)
            made |= {
                "true_ids": ids,
                "true_mask": mask,
                "true_labels": filled([told.labels for told in self.asked], ids),
            }
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


def in_turn(_prompts: list[Any], trainer: Any) -> dict[str, Any]:
    """TRL's rollout_func for whole conversations: the model writes each answer after its own earlier ones, the user says what stands
    in the example. env_mask: 1 on what the model wrote itself."""
    asked = trainer.asked
    written: list[list[int]] = [[] for _ in asked]
    own: list[list[int]] = [[] for _ in asked]
    for turn in range(max(len(told.answers) for told in asked)):
        going = [i for i, told in enumerate(asked) if turn < len(told.answers)]
        for i in going if turn else ():
            gap = asked[i].between[turn - 1]
            gap = gap if written[i][-1] in trainer.words.ends else [trainer.words.ends[0], *gap]
            written[i] += gap
            own[i] += [0] * len(gap)
        before = [asked[i].prompt + written[i] for i in going]
        said, _ = trainer._generate_single_turn(before, None, {}, trainer.num_generations)
        for i, answer in zip(going, said, strict=True):
            written[i] += answer
            own[i] += [1] * len(answer)
    return {"prompt_ids": [told.prompt for told in asked], "completion_ids": written, "logprobs": None, "env_mask": own}
