"""Token generation for EBFT: sampled blocks at many positions of a text, and greedy completions of prompts."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from app.engine.trainers.ebft.blocks import BlockLayout, additive_mask
from app.engine.trainers.ebft.config import EbftConfig
from app.engine.trainers.ebft.features import batches
from app.engine.trainers.ebft.tokenized_prompts import cut_after_first_end


def sample_tokens(logits: Any, temperature: float, config: EbftConfig) -> Any:
    """One token id for each distribution of `logits` (…, vocabulary).

    temperature 0: greedy. config: top_k, top_p and min_p.
    """
    import torch
    from transformers import MinPLogitsWarper, TopKLogitsWarper, TopPLogitsWarper

    if temperature == 0:
        return logits.argmax(-1)
    flat_logits = logits.float().flatten(0, -2) / temperature
    if config.top_k:
        flat_logits = TopKLogitsWarper(config.top_k)(None, flat_logits)
    if config.top_p < 1:
        flat_logits = TopPLogitsWarper(config.top_p)(None, flat_logits)
    if config.min_p:
        flat_logits = MinPLogitsWarper(config.min_p)(None, flat_logits)
    return torch.multinomial(torch.softmax(flat_logits, dim=-1), 1).view(logits.shape[:-1])


def generate_blocks(
    model: Any, token_ids: Any, layout: BlockLayout, attempts: int, sample: Callable[[Any], Any]
) -> Any:
    """Token ids (texts × attempts, blocks, steps).

    Each text is encoded once; then all its blocks grow by one token in each step.
    """
    import torch
    from transformers import DynamicCache

    cache = DynamicCache(config=model.config.get_text_config())
    attention_mask, position_ids = additive_mask(layout.attention_mask, model.dtype), layout.position_ids[None]
    logits = model(
        input_ids=token_ids,
        attention_mask=attention_mask[:, :, : layout.text_length, : layout.text_length],
        past_key_values=cache,
        use_cache=True,
        position_ids=position_ids[:, : layout.text_length].expand(len(token_ids), -1),
        logits_to_keep=layout.block_starts - 1,
    ).logits
    cache.batch_repeat_interleave(attempts)
    attention_mask = attention_mask.repeat_interleave(attempts, 0)
    sampled_ids = [sample(logits.repeat_interleave(attempts, 0))]
    for step in range(layout.plan.block_length - 1):
        start, end = layout.step_offset(step), layout.step_offset(step + 1)
        logits = model(
            input_ids=sampled_ids[-1],
            attention_mask=attention_mask[:, :, start:end, :end],
            past_key_values=cache,
            use_cache=True,
            position_ids=position_ids[:, start:end].expand(len(attention_mask), -1),
        ).logits
        sampled_ids.append(sample(logits))
    return torch.stack(sampled_ids, dim=-1)


def greedy_completion_ids(trainer: Any, prompts: list[list[int]], max_new_tokens: int) -> list[list[int]]:
    """The greedy completion of each prompt as token ids, with its end token if one was generated.

    Expects a model in eval mode.
    """
    import torch

    end_token_ids, device = trainer.prompt_tokenizer.end_token_ids, trainer.accelerator.device
    order = sorted(range(len(prompts)), key=lambda index: -len(prompts[index]))
    completions: dict[int, list[int]] = {}
    for batch in batches(order, len(prompts[order[0]]) + max_new_tokens):
        width = max(len(prompts[index]) for index in batch)
        input_ids = torch.tensor(
            [[end_token_ids[0]] * (width - len(prompts[index])) + prompts[index] for index in batch], device=device
        )
        attention_mask = torch.tensor(
            [[0] * (width - len(prompts[index])) + [1] * len(prompts[index]) for index in batch], device=device
        )
        with torch.no_grad(), trainer.compute_loss_context_manager():
            output_ids = trainer.model.generate(
                input_ids=input_ids,
                attention_mask=attention_mask,
                max_new_tokens=max_new_tokens,
                do_sample=False,
                eos_token_id=end_token_ids,
                pad_token_id=end_token_ids[0],
            )
        completions |= {
            index: cut_after_first_end(row_ids, end_token_ids)
            for index, row_ids in zip(batch, output_ids[:, width:].tolist(), strict=True)
        }
    return [completions[index] for index in range(len(prompts))]
