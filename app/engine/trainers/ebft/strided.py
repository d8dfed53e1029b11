"""Strided EBFT trainer mixin: generates short blocks all over a text and compares each with the text.

Its base class comes from app/engine/trainers/base.py. The model in eval mode generates several attempts for each block
of each text in a batch; the frozen model reads attempts and text under the same mask; attempts whose features match
become more likely. The loss is rl_weight · policy gradient + ce_weight · cross-entropy of the text.
"""

from __future__ import annotations

from typing import Any

from app.engine.trainers.ebft import block_generation, blocks
from app.engine.trainers.ebft.blocks import BlockLayout
from app.engine.trainers.ebft.config import REWARD_LABEL, EbftConfig
from app.engine.trainers.ebft.feature_rewards import FeatureScores, advantages, score_features
from app.engine.trainers.ebft.features import FeatureNetwork, batches, pool
from app.engine.trainers.ebft.likelihood import cross_entropy
from app.engine.trainers.ebft.prompt_rows import collate
from app.engine.trainers.ebft.tokenized_prompts import PromptTokenizer

_PROMPT_TOKENS_IN_SAMPLE = 64  # before the block


class StridedMixin:
    """Dataset columns: input_ids, labels (IGNORE_INDEX on the prompt), begin (first trained position)."""

    loss_is_scaled_for_ga = False

    def __init__(
        self,
        model: Any,
        args: Any,
        peft_config: Any = None,
        *,
        ebft_config: EbftConfig,
        feature_network: FeatureNetwork,
        prompt_tokenizer: PromptTokenizer,
        **trainer_arguments: Any,
    ):
        from app.engine.trainers.base import with_adapter

        self.ebft_config, self.feature_network, self.prompt_tokenizer = ebft_config, feature_network, prompt_tokenizer
        self._logs: dict[str, Any] = {}  # read by app/engine/trainers/group_rl/rollout_logging.py
        model = with_adapter(model, peft_config, args)
        super().__init__(model=model, args=args, data_collator=collate, **trainer_arguments)

    def compute_loss(self, model: Any, inputs: dict[str, Any], *_: Any, **__: Any) -> Any:
        """The loss of one batch; also records metrics and sample logs."""
        input_ids, attention_mask, config = inputs["input_ids"], inputs["attention_mask"], self.ebft_config
        layout = blocks.build_layout(config.plan, attention_mask, inputs["begin"])
        block_ids = self.generate_attempts(model, input_ids, layout, config.attempts, config.temperature)
        completion_mask = blocks.mask_until_end(block_ids, self.prompt_tokenizer.end_token_ids)
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
        self._logs = self._sample_logs(input_ids, layout, block_ids, completion_mask) | {
            "rewards": {REWARD_LABEL: scores.rewards[0, _middle_block(layout)].tolist()},
            "advantages": block_advantages[0, _middle_block(layout)].tolist(),
        }
        self.num_tokens_seen += int(attention_mask.sum()) + int(loss_mask.sum())
        return loss

    def generate_attempts(
        self, model: Any, input_ids: Any, layout: BlockLayout, attempts: int, temperature: float
    ) -> Any:
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
                lambda logits: block_generation.sample_tokens(logits, temperature, self.ebft_config),
            )
        model.train(training)
        return _split_attempts(block_ids, len(input_ids))

    def token_log_probs(self, model: Any, input_ids: Any, layout: BlockLayout, block_ids: Any) -> tuple[Any, Any]:
        """(log-probabilities, entropies) at the sampling temperature, of the shape of `block_ids`."""
        import torch

        attempts, steps = block_ids.shape[2:]
        merged_ids = _merge_attempts(block_ids)
        row_length = layout.step_offset(steps - 1)  # the last step predicts no further token
        rows = blocks.append_blocks(input_ids.repeat_interleave(attempts, 0), merged_ids[..., :-1])
        attention_mask = blocks.additive_mask(
            layout.attention_mask[:, :row_length, :row_length], model.dtype
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
        log_probs = torch.log_softmax(logits.float() / self.ebft_config.temperature, dim=-1)
        # to (rows, blocks, steps, vocabulary)
        log_probs = log_probs.unflatten(1, (steps, layout.block_count)).transpose(1, 2)
        sampled_log_probs = log_probs.gather(-1, merged_ids[..., None])[..., 0]
        entropy = -(log_probs.detach().exp() * log_probs.detach()).sum(-1)
        return _split_attempts(sampled_log_probs, len(input_ids)), _split_attempts(entropy, len(input_ids))

    def score_attempts(
        self, input_ids: Any, layout: BlockLayout, block_ids: Any, completion_mask: Any
    ) -> FeatureScores:
        """Scores of each attempt against the text itself, which is laid out and read in exactly the same way."""
        import torch

        reference_ids = blocks.reference_blocks(layout, input_ids)[:, :, None]
        all_ids = torch.cat([block_ids, reference_ids], dim=2)
        all_masks = torch.cat([completion_mask, torch.ones_like(reference_ids, dtype=torch.bool)], dim=2)
        features = self.block_features(input_ids, layout, all_ids, all_masks)
        return score_features(features[:, :, :-1], features[:, :, -1], self.ebft_config.weights)

    def block_features(self, input_ids: Any, layout: BlockLayout, block_ids: Any, completion_mask: Any) -> Any:
        """Features (texts, blocks, attempts, features) of the tokens in the blocks."""
        import torch

        attempts, steps = block_ids.shape[2:]
        rows = blocks.append_blocks(input_ids.repeat_interleave(attempts, 0), _merge_attempts(block_ids))
        lengths, features = _merge_attempts(completion_mask).sum(-1), []
        with self.feature_network.activate(self) as network:
            for batch in batches([*range(len(rows))], rows.shape[1]):
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

    def _record_score_metrics(self, scores: FeatureScores, layout: BlockLayout, entropy: Any) -> None:
        metrics = {name: score[layout.attempted].mean() for name, score in scores.metrics().items()}
        reward_std = scores.rewards[layout.attempted].std(-1, correction=0).mean()
        self.record_metrics(metrics | {"entropy": entropy, "reward_std": reward_std})

    def _sample_logs(self, input_ids: Any, layout: BlockLayout, block_ids: Any, completion_mask: Any) -> dict[str, Any]:
        """The attempts at the middle trained block of the first text, as sample logs."""
        block, attempts, decode = _middle_block(layout), block_ids.shape[2], self.processing_class.decode
        start = int(layout.block_starts[block])
        return {
            "prompt": [decode(input_ids[0, max(0, start - _PROMPT_TOKENS_IN_SAMPLE) : start])] * attempts,
            "completion": [
                decode(block_ids[0, block, attempt][completion_mask[0, block, attempt]]) for attempt in range(attempts)
            ],
        }


def _middle_block(layout: BlockLayout) -> int:
    """Index of the middle one of the first text's trained blocks."""
    block_indices = layout.attempted[0].nonzero()[:, 0]
    return int(block_indices[len(block_indices) // 2])


def _masked_mean(tensor: Any, mask: Any) -> Any:
    return (tensor * mask).sum() / mask.sum().clamp(min=1)


def _merge_attempts(rows: Any) -> Any:
    """(texts, blocks, attempts, …) to (texts × attempts, blocks, …)."""
    return rows.transpose(1, 2).flatten(0, 1)


def _split_attempts(rows: Any, text_count: int) -> Any:
    """(texts × attempts, blocks, …) to (texts, blocks, attempts, …)."""
    return rows.unflatten(0, (text_count, -1)).transpose(1, 2)
