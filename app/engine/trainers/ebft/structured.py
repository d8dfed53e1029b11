"""Structured EBFT trainer mixin for GRPOTrainer: feature-matching reward and cross-entropy on references."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypedDict, Unpack

from app.data.rows import Row
from app.engine.tokens.length_batches import pad_texts
from app.engine.trainers.ebft.config import REWARD_LABEL, EbftConfig
from app.engine.trainers.ebft.feature_rewards import FeatureScores, score_features
from app.engine.trainers.ebft.features import FeatureNetwork
from app.engine.trainers.ebft.likelihood import cross_entropy, pad_labels
from app.engine.trainers.ebft.prompt_rows import completion_limit
from app.engine.trainers.ebft.tokenized_prompts import PromptTokenizer, TokenizedPrompt
from app.engine.trainers.mixin_bases import GRPOTrainerBase

if TYPE_CHECKING:
    from datasets import Dataset
    from peft import PeftConfig
    from torch import Tensor
    from transformers import PreTrainedModel, PreTrainedTokenizerBase, TrainerCallback
    from trl import GRPOConfig, GRPOTrainer
    from trl.trainer.grpo_trainer import RolloutFunc

    from app.engine.trainers.mixin_bases import Batch


class _GRPOArguments(TypedDict, total=False):
    """What a job gives to TRL's GRPOTrainer beside the reward."""

    model: PreTrainedModel
    args: GRPOConfig
    train_dataset: Dataset
    processing_class: PreTrainedTokenizerBase
    peft_config: PeftConfig
    callbacks: list[TrainerCallback]
    rollout_func: RolloutFunc | None


class StructuredMixin(GRPOTrainerBase):
    """Dataset columns: prompt, and truth, the reference completion.

    Advantages, clipping and averaging are GRPO's own.
    """

    max_completion_length: int

    def __init__(
        self,
        *,
        ebft_config: EbftConfig,
        feature_network: FeatureNetwork,
        prompt_tokenizer: PromptTokenizer,
        length_factor: float,
        **trainer_arguments: Unpack[_GRPOArguments],
    ):
        """length_factor: an attempt's maximum length in reference lengths; 0: max_completion_length."""
        self.ebft_config, self.feature_network, self.prompt_tokenizer, self.length_factor = (
            ebft_config,
            feature_network,
            prompt_tokenizer,
            length_factor,
        )
        self.batch_prompts: list[TokenizedPrompt] = []  # of the current batch, one for each row
        super().__init__(reward_funcs=[self._reward_function()], **trainer_arguments)

    def _reward_function(self) -> Callable[..., list[float | None]]:
        """The reward function in TRL's signature."""

        def reward(
            completion_ids: list[list[int]], log_metric: Callable[[str, float], None], **_: Any
        ) -> list[float | None]:
            scores = self.score_completions(completion_ids)
            for name, score in scores.metrics().items():
                if name != "reward":  # TRL logs it itself
                    log_metric(name, score.mean().item())
            return scores.rewards.flatten().tolist()

        reward.__name__ = REWARD_LABEL
        return reward

    def score_completions(self, completion_ids: list[list[int]]) -> FeatureScores:
        """Scores of shape (prompts, attempts). Each `attempts` consecutive rows belong to one prompt."""
        attempts = self.ebft_config.attempts
        features = self.feature_network.text_features(
            self, [prompt.prompt_ids for prompt in self.batch_prompts], completion_ids
        )
        unique_prompts = self.batch_prompts[::attempts]
        reference_features = self.feature_network.text_features(
            self, [prompt.prompt_ids for prompt in unique_prompts], [prompt.completion_ids for prompt in unique_prompts]
        )
        return score_features(features.unflatten(0, (-1, attempts)), reference_features, self.ebft_config.weights)

    def truth(self, row: Row) -> tuple[list[int], list[int]]:
        """(token ids, labels) of the reference completion; called by app/engine/preview/trainer_capture.py."""
        tokenized = self.prompt_tokenizer.tokenize(row["prompt"], row["truth"])
        return tokenized.completion_ids, tokenized.labels[len(tokenized.prompt_ids) :]

    def _generate_and_score_completions(self, inputs: list[Row]) -> Batch:
        self.batch_prompts = [self.prompt_tokenizer.tokenize(row["prompt"], row["truth"]) for row in inputs]
        lengths = [len(answer_ids) for prompt in self.batch_prompts for answer_ids in prompt.answer_ids]
        self.generation_config.max_new_tokens = completion_limit(
            lengths, self.length_factor, self.max_completion_length
        )
        batch = super()._generate_and_score_completions(inputs)
        if self.ebft_config.ce_weight:
            input_ids, attention_mask = pad_texts(
                [prompt.prompt_ids + prompt.completion_ids for prompt in self.batch_prompts], self.accelerator.device
            )
            batch |= {
                "true_ids": input_ids,
                "true_mask": attention_mask,
                "true_labels": pad_labels([prompt.labels for prompt in self.batch_prompts], input_ids),
            }
        return batch

    def _compute_loss(self, model: PreTrainedModel, inputs: Batch) -> Tensor:
        import torch

        loss = self.ebft_config.rl_weight * super()._compute_loss(model, inputs)
        if not self.ebft_config.ce_weight:
            return loss
        rows = torch.stack([inputs[f"true_{name}"] for name in ("ids", "mask", "labels")], dim=1)
        unique_rows, counts = rows.unique(dim=0, return_counts=True)  # the attempts at a prompt share its reference
        input_ids, attention_mask, labels = unique_rows.unbind(1)
        ce_loss = cross_entropy(model, input_ids, attention_mask, labels, text_weights=counts)
        self._metrics["train"]["ce"].append(ce_loss.item())
        return loss + self.ebft_config.ce_weight * ce_loss / self.current_gradient_accumulation_steps


def rollout_conversations(_prompts: list[str], trainer: GRPOTrainer) -> dict[str, list[list[int]] | None]:
    """TRL's rollout_func for conversations: each answer is generated after the model's own earlier answers.

    User messages come from the example. {"prompt_ids", "completion_ids", "logprobs": None, as TRL computes them, "env_mask":
    1 on generated tokens, 0 on those of the example}, each with a list for each prompt.
    """
    assert isinstance(trainer, StructuredMixin), "only its trainer gets this function"
    prompts = trainer.batch_prompts
    completion_ids: list[list[int]] = [[] for _ in prompts]
    env_mask: list[list[int]] = [[] for _ in prompts]
    for turn in range(max(len(prompt.answer_ids) for prompt in prompts)):
        active_indices = [index for index, prompt in enumerate(prompts) if turn < len(prompt.answer_ids)]
        for index in active_indices if turn else ():
            gap_ids = prompts[index].gap_ids[turn - 1]
            gap_ids = (
                gap_ids
                if completion_ids[index][-1] in trainer.prompt_tokenizer.end_token_ids
                else [trainer.prompt_tokenizer.end_token_ids[0], *gap_ids]
            )
            completion_ids[index] += gap_ids
            env_mask[index] += [0] * len(gap_ids)
        prefix_ids = [prompts[index].prompt_ids + completion_ids[index] for index in active_indices]
        generated_ids, _ = trainer._generate_single_turn(prefix_ids, None, {}, trainer.num_generations)
        for index, answer_ids in zip(active_indices, generated_ids, strict=True):
            completion_ids[index] += answer_ids
            env_mask[index] += [1] * len(answer_ids)
    return {
        "prompt_ids": [prompt.prompt_ids for prompt in prompts],
        "completion_ids": completion_ids,
        "logprobs": None,
        "env_mask": env_mask,
    }
