"""Token generation for EBFT: sampled blocks at many positions of a text, and greedy completions of prompts."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from app.engine.contracts import SamplingSettings
from app.engine.generation.transformers_generator import TransformersGenerator
from app.engine.trainers.ebft.blocks import BlockLayout, additive_mask
from app.engine.trainers.ebft.features import token_batches

if TYPE_CHECKING:
    from torch import Tensor
    from transformers import PreTrainedModel

    from app.engine.trainers.ebft.structured import StructuredMixin


def generate_blocks(
    model: PreTrainedModel,
    token_ids: Tensor,
    layout: BlockLayout,
    attempts: int,
    sample: Callable[[Tensor], Tensor],
) -> Tensor:
    """Token ids (texts × attempts, blocks, steps).

    Each text is encoded once; then all its blocks grow by one token in each step. This is no task for a
    `TextGenerator`: the blocks of a text share one forward pass under an attention mask of their own.
    """
    import torch
    from transformers import DynamicCache

    cache = DynamicCache(config=model.config.get_text_config())
    attention_mask, position_ids = additive_mask(layout.attention_mask, model.dtype), layout.position_ids[None]

    def next_logits(input_ids: Tensor, mask: Tensor, positions: Tensor, **options: Tensor) -> Tensor:
        position_rows = positions.expand(len(input_ids), -1)
        cache_options = {"past_key_values": cache, "use_cache": True}  # from transformers 5.24 on: `cache`
        return model(
            input_ids=input_ids, attention_mask=mask, position_ids=position_rows, **cache_options, **options
        ).logits

    length = layout.text_length
    logits = next_logits(
        token_ids,
        attention_mask[:, :, :length, :length],
        position_ids[:, :length],
        logits_to_keep=layout.block_starts - 1,
    )
    cache.batch_repeat_interleave(attempts)
    attention_mask = attention_mask.repeat_interleave(attempts, 0)
    sampled_ids = [sample(logits.repeat_interleave(attempts, 0))]
    for step in range(layout.plan.block_length - 1):
        start, end = layout.step_offset(step), layout.step_offset(step + 1)
        logits = next_logits(sampled_ids[-1], attention_mask[:, :, start:end, :end], position_ids[:, start:end])
        sampled_ids.append(sample(logits))
    return torch.stack(sampled_ids, dim=-1)


def greedy_completion_ids(trainer: StructuredMixin, prompts: list[list[int]], max_new_tokens: int) -> list[list[int]]:
    """The greedy completion of each prompt as token ids, with its end token if one was generated.

    Expects a model in eval mode.
    """

    def make_batches(lengths: Sequence[int]) -> list[list[int]]:
        return token_batches([length + max_new_tokens for length in lengths])

    tokenizer = trainer.prompt_tokenizer
    generator = TransformersGenerator(trainer.model, tokenizer.tokenizer, make_batches=make_batches)
    sampling = SamplingSettings(max_new_tokens=max_new_tokens, end_token_ids=tokenizer.end_token_ids)
    with trainer.compute_loss_context_manager():
        completions = generator.generate(prompts, sampling)
    return [completion.token_ids for completion in completions]
