"""Writing: tokens drawn from a model, for all blocks of a text at once or for many questions side by side."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from app.engine.trainers.ebft.blocks import Layout, additive
from app.engine.trainers.ebft.config import Settings
from app.engine.trainers.ebft.features import pieces
from app.engine.trainers.ebft.tokenized_prompts import upto


def drawn(logits: Any, temperature: float, limits: Settings) -> Any:
    """One token of each distribution (…, vocabulary). temperature 0: the likeliest. limits: which of the likeliest may be drawn."""
    import torch
    from transformers import MinPLogitsWarper, TopKLogitsWarper, TopPLogitsWarper

    if temperature == 0:
        return logits.argmax(-1)
    flat = logits.float().flatten(0, -2) / temperature
    if limits.top_k:
        flat = TopKLogitsWarper(limits.top_k)(None, flat)
    if limits.top_p < 1:
        flat = TopPLogitsWarper(limits.top_p)(None, flat)
    if limits.min_p:
        flat = MinPLogitsWarper(limits.min_p)(None, flat)
    return torch.multinomial(torch.softmax(flat, dim=-1), 1).view(logits.shape[:-1])


def blocks_of(model: Any, ids: Any, plan: Layout, count: int, draw: Callable[[Any], Any]) -> Any:
    """(texts × count, blocks, steps): every text is read once, then each block goes on by one token at a time."""
    import torch
    from transformers import DynamicCache

    past = DynamicCache(config=model.config.get_text_config())
    seen, places = additive(plan.seen, model.dtype), plan.positions[None]
    told = model(input_ids=ids, attention_mask=seen[:, :, : plan.length, : plan.length], past_key_values=past, use_cache=True,
                 position_ids=places[:, : plan.length].expand(len(ids), -1), logits_to_keep=plan.places - 1).logits  # fmt: skip
    past.batch_repeat_interleave(count)
    seen = seen.repeat_interleave(count, 0)
    written = [draw(told.repeat_interleave(count, 0))]
    for step in range(plan.plan.generate - 1):
        start, end = plan.first(step), plan.first(step + 1)
        told = model(input_ids=written[-1], attention_mask=seen[:, :, start:end, :end], past_key_values=past, use_cache=True,
                     position_ids=places[:, start:end].expand(len(seen), -1)).logits  # fmt: skip
        written.append(draw(told))
    return torch.stack(written, dim=-1)


def answers(trainer: Any, prompts: list[list[int]], longest: int) -> list[list[int]]:
    """The likeliest answer to each question, in tokens, with its end token if it came to one. For a model at rest."""
    import torch

    ends, device = trainer.words.ends, trainer.accelerator.device
    order, found = sorted(range(len(prompts)), key=lambda i: -len(prompts[i])), {}
    for part in pieces(order, len(prompts[order[0]]) + longest):
        width = max(len(prompts[i]) for i in part)
        ids = torch.tensor([[ends[0]] * (width - len(prompts[i])) + prompts[i] for i in part], device=device)
        mask = torch.tensor([[0] * (width - len(prompts[i])) + [1] * len(prompts[i]) for i in part], device=device)
        with torch.no_grad(), trainer.compute_loss_context_manager():
            out = trainer.model.generate(input_ids=ids, attention_mask=mask, max_new_tokens=longest, do_sample=False,
                                         eos_token_id=ends, pad_token_id=ends[0])  # fmt: skip
        found |= {i: upto(row, ends) for i, row in zip(part, out[:, width:].tolist(), strict=True)}
    return [found[i] for i in range(len(prompts))]
