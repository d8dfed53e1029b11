"""Tool calling in TRL's GRPOTrainer outside of training: in the preview of prompts, and in evaluation."""

from __future__ import annotations

import copy
from collections import defaultdict
from typing import TYPE_CHECKING

from app.data.conversations.messages import Messages
from app.data.fields import Row
from app.engine.trainers.mixin_bases import GRPOTrainerBase

if TYPE_CHECKING:
    from PIL.Image import Image
    from torch import Tensor
    from transformers import GenerationConfig

_BATCH_SIZE = 32  # rows in one batch of an evaluation

# (token ids, images, tensors of images), by prompt
TokenizedPrompts = tuple[list[list[int]], "list[list[Image]] | None", "dict[str, Tensor]"]


class ToolCallingMixin(GRPOTrainerBase):
    """Makes tools work in the preview and in evaluation, in front of GROUP_MIXINS (trainers/group_rl/trainer.py)."""

    is_evaluating = False

    def _tokenize_prompts(self, prompts: list[Messages]) -> TokenizedPrompts:
        # a private attribute of TRL, which a preview of prompts does not set
        self._batch_environments = [None] * len(prompts)
        return super()._tokenize_prompts(prompts)

    def _calculate_rewards(
        self,
        inputs: list[Row],
        prompts: list[Messages],
        completions: list[Messages],
        completion_ids_list: list[list[int]],
    ) -> Tensor:
        import torch

        if not self.is_evaluating:
            return super()._calculate_rewards(inputs, prompts, completions, completion_ids_list)
        self._generated_messages = completions
        return torch.zeros(len(prompts), len(self.reward_funcs), device=self.accelerator.device)

    def render_tool_prompt(self, row: Row) -> str:
        """The rendered prompt with the tools' descriptions."""
        ids, *_ = self._tokenize_prompts([row["prompt"]])
        return self._tokenizer.batch_decode(ids)[0]

    def answer_with_tools(self, rows: list[Row]) -> list[Messages]:
        """Greedy completions as messages, with tool calls and their results.

        Metrics and logs of training stay as they are.
        """
        attribute_names = ("_logs", "_metrics", "generation_config", "num_generations_eval", "is_evaluating")
        saved = {name: getattr(self, name) for name in attribute_names}
        self._logs, self.generation_config = copy.deepcopy(self._logs), _greedy_config(self.generation_config)
        self._metrics: dict[str, defaultdict[str, list[float]]] = {mode: defaultdict(list) for mode in self._metrics}
        self.num_generations_eval, self.is_evaluating = 1, True
        try:
            return [
                completion
                for start in range(0, len(rows), _BATCH_SIZE)
                for completion in self._generate_batch(rows[start : start + _BATCH_SIZE])
            ]
        finally:
            for name, saved_value in saved.items():
                setattr(self, name, saved_value)

    def _generate_batch(self, rows: list[Row]) -> list[Messages]:
        import torch

        with torch.no_grad():
            self._generate_and_score_completions([dict(row) for row in rows])
        return self._generated_messages


def _greedy_config(config: GenerationConfig) -> GenerationConfig:
    greedy = copy.copy(config)
    greedy.do_sample, greedy.temperature, greedy.top_p, greedy.top_k, greedy.min_p = False, None, None, None, None
    return greedy
