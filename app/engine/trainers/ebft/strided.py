"""Strided EBFT trainer mixin: generates short blocks all over a text and compares each with the text.

Its base class comes from app/engine/trainers/base.py. The model in eval mode generates several attempts for each block
of each text in a batch; the frozen model reads attempts and text under the same mask; attempts whose features match
become more likely. The loss is rl_weight · policy gradient + ce_weight · cross-entropy of the text.
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

from app.engine.generation.end_tokens import mask_until_end
from app.engine.generation.sampling import sample_token_ids
from app.engine.trainers.base import StepMetricsMixin, with_adapter
from app.engine.trainers.ebft import block_generation, blocks
from app.engine.trainers.ebft.blocks import BlockLayout
from app.engine.trainers.ebft.config import REWARD_LABEL, EbftConfig
from app.engine.trainers.ebft.feature_rewards import FeatureScores, advantages, score_features
from app.engine.trainers.ebft.features import FeatureNetwork, pool, token_batches
from app.engine.trainers.ebft.likelihood import cross_entropy
from app.engine.trainers.ebft.prompt_rows import collate
from app.engine.trainers.ebft.tokenized_prompts import PromptTokenizer
from app.engine.trainers.group_rl.rollout_logging import RolloutLogs

if TYPE_CHECKING:
    from datasets import Dataset
    from peft import PeftConfig
    from torch import Tensor
    from torch.nn import Module
    from transformers import PreTrainedModel, PreTrainedTokenizerBase, TrainerCallback, TrainingArguments

_PROMPT_TOKENS_IN_SAMPLE = 64  # before the block


class StridedMixin(StepMetricsMixin):
    """Dataset columns: input_ids, labels (IGNORE_INDEX on the prompt), begin (first trained position)."""

    loss_is_scaled_for_ga = False
    _logs: RolloutLogs

    def __init__(
        self,
        model: PreTrainedModel,
        args: TrainingArguments,
        train_dataset: Dataset,
        processing_class: PreTrainedTokenizerBase,
        peft_config: PeftConfig | None = None,
        callbacks: list[TrainerCallback] | None = None,
        *,
        ebft_config: EbftConfig,
        feature_network: FeatureNetwork,
        prompt_tokenizer: PromptTokenizer,
    ):
        self.ebft_config, self.feature_network, self.prompt_tokenizer = ebft_config, feature_network, prompt_tokenizer
        super().__init__(
            model=with_adapter(model, peft_config, args),
            args=args,
            data_collator=collate,
            train_dataset=train_dataset,
            processing_class=processing_class,
            callbacks=callbacks,
        )

    def compute_loss(
        self,
        model: Module,
        inputs: dict[str, Tensor],
        return_outputs: bool = False,
        num_items_in_batch: Tensor | int | None = None,
    ) -> Tensor:
        """The loss of one batch; also records metrics and sample logs."""
        input_ids, attention_mask, config = inputs["input_ids"], inputs["attention_mask"], self.ebft_config
        layout = blocks.build_layout(config.plan, attention_mask, inputs["begin"])
        block_ids = self.generate_attempts(self.model, input_ids, layout, config.attempts, config.sampling.temperature)
        completion_mask = mask_until_end(block_ids, self.prompt_tokenizer.end_token_ids)
        scores = self.score_attempts(input_ids, layout, block_ids, completion_mask)
        block_advantages = advantages(scores.rewards, config.estimator)
        log_probs, entropy = self.token_log_probs(model, input_ids, layout, block_ids)
        loss_mask = completion_mask & layout.attempted[:, :, None, None]
        loss = config.rl_weight * -_masked_mean(log_probs * block_advantages[..., None], loss_mask)
        if config.ce_weight:
            ce = cross_entropy(model, input_ids, attention_mask, inputs["labels"])
            loss = loss + config.ce_weight * ce
            self.record_metrics({"ce": ce.item()})
        self._record_score_metrics(scores, layout, _masked_mean(entropy, loss_mask))
        self._logs = self._rollout_logs(input_ids, layout, block_ids, completion_mask, scores.rewards, block_advantages)
        self.num_tokens_seen += int(attention_mask.sum()) + int(loss_mask.sum())
        return loss

    def generate_attempts(
        self, model: PreTrainedModel, input_ids: Tensor, layout: BlockLayout, attempts: int, temperature: float
    ) -> Tensor:
        """Token ids (texts, blocks, attempts, steps) that the model in eval mode generates. temperature 0: greedy."""
        import torch

        training = model.training
        model.eval()
        with torch.no_grad(), self.compute_loss_context_manager():
            block_ids = block_generation.generate_blocks(
                model,
                input_ids,
                layout,
                attempts,
                partial(sample_token_ids, sampling=replace(self.ebft_config.sampling, temperature=temperature)),
            )
        model.train(training)
        return _split_attempts(block_ids, len(input_ids))

    def token_log_probs(
        self, model: Module, input_ids: Tensor, layout: BlockLayout, block_ids: Tensor
    ) -> tuple[Tensor, Tensor]:
        """(log-probabilities, entropies) at the sampling temperature, of the shape of `block_ids`."""
        import torch

        attempts, steps = block_ids.shape[2:]
        merged_ids = _merge_attempts(block_ids)
        row_length = layout.step_offset(steps - 1)  # the last step predicts no further token
        rows = blocks.append_blocks(input_ids.repeat_interleave(attempts, 0), merged_ids[..., :-1])
        attention_mask = blocks.additive_mask(
            layout.attention_mask[:, :row_length, :row_length], self.model.dtype
        ).repeat_interleave(attempts, 0)
        predicting_positions = torch.cat(
            [layout.block_starts - 1, torch.arange(layout.text_length, row_length, device=input_ids.device)]
        )
        logits = model(
            input_ids=rows,
            attention_mask=attention_mask,
            position_ids=layout.position_ids[None, :row_length].expand(len(rows), -1),
            use_cache=False,
            logits_to_keep=predicting_positions,
        ).logits
        log_probs = torch.log_softmax(logits.float() / self.ebft_config.sampling.temperature, dim=-1)
        # to (rows, blocks, steps, vocabulary)
        log_probs = log_probs.unflatten(1, (steps, layout.block_count)).transpose(1, 2)
        sampled_log_probs = log_probs.gather(-1, merged_ids[..., None])[..., 0]
        entropy = -(log_probs.detach().exp() * log_probs.detach()).sum(-1)
        return _split_attempts(sampled_log_probs, len(input_ids)), _split_attempts(entropy, len(input_ids))

    def score_attempts(
        self, input_ids: Tensor, layout: BlockLayout, block_ids: Tensor, completion_mask: Tensor
    ) -> FeatureScores:
        """Scores of each attempt against the text itself, which is laid out and read in exactly the same way."""
        import torch

        reference_ids = blocks.reference_blocks(layout, input_ids)[:, :, None]
        all_ids = torch.cat([block_ids, reference_ids], dim=2)
        all_masks = torch.cat([completion_mask, torch.ones_like(reference_ids, dtype=torch.bool)], dim=2)
        features = self.block_features(input_ids, layout, all_ids, all_masks)
        return score_features(features[:, :, :-1], features[:, :, -1], self.ebft_config.weights)

    def block_features(
        self, input_ids: Tensor, layout: BlockLayout, block_ids: Tensor, completion_mask: Tensor
    ) -> Tensor:
        """Features (texts, blocks, attempts, features) of the tokens in the blocks."""
        import torch

        attempts, steps = block_ids.shape[2:]
        rows = blocks.append_blocks(input_ids.repeat_interleave(attempts, 0), _merge_attempts(block_ids))
        lengths, features = _merge_attempts(completion_mask).sum(-1), []
        with self.feature_network.activate(self) as network:
            for batch in token_batches([rows.shape[1]] * len(rows)):
                attention_mask = blocks.additive_mask(
                    layout.attention_mask[[row // attempts for row in batch]], network.dtype
                )
                states = self.feature_network.layer_states(
                    network,
                    rows[batch],
                    attention_mask=attention_mask,
                    position_ids=layout.position_ids[None].expand(len(batch), -1),
                )
                block_states = (
                    states[:, layout.text_length :]
                    .unflatten(1, (steps, layout.block_count))
                    .transpose(1, 2)
                    .flatten(0, 1)
                )
                batch_lengths = lengths[batch].flatten()
                pooled_features = pool(
                    block_states, batch_lengths, torch.zeros_like(batch_lengths), self.feature_network.pooling
                )
                features.append(pooled_features.unflatten(0, (len(batch), layout.block_count)))
        return _split_attempts(torch.cat(features), len(input_ids))

    # -- logging --------------------------------------------------------------------------------------------------

    def _record_score_metrics(self, scores: FeatureScores, layout: BlockLayout, entropy: Tensor) -> None:
        metrics = {name: score[layout.attempted].mean() for name, score in scores.metrics().items()}
        reward_std = scores.rewards[layout.attempted].std(-1, correction=0).mean()
        self.record_metrics(metrics | {"entropy": entropy, "reward_std": reward_std})

    def _rollout_logs(
        self,
        input_ids: Tensor,
        layout: BlockLayout,
        block_ids: Tensor,
        completion_mask: Tensor,
        rewards: Tensor,
        block_advantages: Tensor,
    ) -> RolloutLogs:
        """The attempts at the middle trained block of the first text; rewards, block_advantages: (texts, blocks, attempts)."""
        block = _middle_block(layout)
        start = int(layout.block_starts[block])
        prompt_ids = input_ids[0, max(0, start - _PROMPT_TOKENS_IN_SAMPLE) : start].tolist()
        attempt_ids = [
            token_ids[is_completion].tolist()
            for token_ids, is_completion in zip(block_ids[0, block], completion_mask[0, block], strict=True)
        ]
        return {
            "prompt": self.processing_class.batch_decode([prompt_ids] * len(attempt_ids)),
            "completion": self.processing_class.batch_decode(attempt_ids),
            "rewards": {REWARD_LABEL: rewards[0, block].tolist()},
            "advantages": block_advantages[0, block].tolist(),
        }


def _middle_block(layout: BlockLayout) -> int:
    """Index of the middle one of the first text's trained blocks."""
    block_indices = layout.attempted[0].nonzero()[:, 0]
    return int(block_indices[len(block_indices) // 2])


def _masked_mean(tensor: Tensor, mask: Tensor) -> Tensor:
    return (tensor * mask).sum() / mask.sum().clamp(min=1)


def _merge_attempts(rows: Tensor) -> Tensor:
    """(texts, blocks, attempts, …) to (texts × attempts, blocks, …)."""
    return rows.transpose(1, 2).flatten(0, 1)


def _split_attempts(rows: Tensor, text_count: int) -> Tensor:
    """(texts × attempts, blocks, …) to (texts, blocks, attempts, …)."""
    return rows.unflatten(0, (text_count, -1)).transpose(1, 2)
