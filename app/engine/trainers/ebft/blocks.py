"""Layout of blocks: short attempts at many positions of one text at once, each attending only to the text before it.

In one row the text is followed by `block_length` tokens of each block, step by step: the first tokens of all blocks,
then their second tokens, and so on. The attention mask hides the blocks from each other, and the later text from each
block.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch
    from torch import Tensor


def count_blocks(text_length: int, block_length: int, context: int, stride: int) -> int:
    """(text_length − block_length − context)/stride + 1: blocks with full context and reference."""
    return max(0, (text_length - block_length - context) // stride + 1)


@dataclass(frozen=True)
class BlockPlan:
    """Where blocks begin, in tokens.

    context: tokens before the first block; with `context_only`, all the text a block attends to.

    skip: tokens of an answer before its first block. max_length: texts are truncated to it.
    """

    stride: int = 8
    context: int = 8
    block_length: int = 8
    skip: int = 0
    context_only: bool = False
    max_length: int = 512

    def block_starts(self, text_length: int) -> list[int]:
        """Start positions of all blocks in a text of this length."""
        return [
            self.context + self.stride * index
            for index in range(count_blocks(text_length, self.block_length, self.context, self.stride))
        ]

    def trained_starts(self, text_length: int, answer_start: int) -> list[int]:
        """Start positions of the trained blocks: those from `answer_start` on, where 0 means all of the text."""
        return [
            start
            for start in self.block_starts(text_length)
            if start >= answer_start + (self.skip if answer_start else 0)
        ]


@dataclass(frozen=True)
class BlockLayout:
    """The blocks of a batch of texts.

    block_starts (blocks); attempted (texts, blocks): which blocks each text trains.

    attention_mask (texts, row, row) with row = text_length + steps × blocks: True where the query token (second axis)
    may attend to the key token (third axis). position_ids (row): each token's position in its text.
    """

    plan: BlockPlan
    text_length: int
    block_starts: Tensor
    attempted: Tensor
    attention_mask: Tensor
    position_ids: Tensor

    @property
    def block_count(self) -> int:
        """Number of blocks in a row; attempted or not."""
        return len(self.block_starts)

    def step_offset(self, steps: int) -> int:
        """Index in a row at which the tokens of step `steps` begin."""
        return self.text_length + steps * self.block_count


def build_layout(plan: BlockPlan, attention_mask: Tensor, answer_starts: Tensor) -> BlockLayout:
    """attention_mask (texts, length): 1 where a token is, 0 on padding.

    answer_starts (texts): first trained position of each text.
    """
    import torch

    padded_length, device = attention_mask.shape[1], attention_mask.device
    text_lengths = attention_mask.sum(-1)
    block_starts = torch.tensor(plan.block_starts(int(text_lengths.max())), device=device, dtype=torch.long)
    first_starts = torch.where(answer_starts > 0, answer_starts + plan.skip, answer_starts)
    attempted = (block_starts >= first_starts[:, None]) & (block_starts + plan.block_length <= text_lengths[:, None])
    steps = torch.arange(plan.block_length, device=device)
    block_positions = (block_starts + steps[:, None]).flatten()
    position_ids = torch.cat([torch.arange(padded_length, device=device), block_positions])
    block_mask = _build_attention_mask(plan, text_lengths, padded_length, block_starts)
    return BlockLayout(plan, padded_length, block_starts, attempted, block_mask, position_ids)


def _build_attention_mask(plan: BlockPlan, text_lengths: Tensor, padded_length: int, block_starts: Tensor) -> Tensor:
    """(texts, row, row): may the query token attend to the key token?

    Every token attends to itself, padding too: no row is empty.
    """
    import torch

    block_count, device = len(block_starts), text_lengths.device
    token_indices = torch.arange(padded_length + plan.block_length * block_count, device=device)
    is_text = token_indices < padded_length
    block_indices = torch.where(is_text, -1, (token_indices - padded_length) % max(1, block_count))
    block_text_ends = block_starts[block_indices] if block_count else token_indices
    text_ends = torch.where(is_text, token_indices + 1, block_text_ends)  # of the text that each token may attend to
    text_begins = (
        torch.where(is_text, 0, text_ends - plan.context) if plan.context_only else torch.zeros_like(text_ends)
    )
    sees_text = is_text & (token_indices < text_ends[:, None]) & (token_indices >= text_begins[:, None])
    sees_block = ~is_text & (block_indices == block_indices[:, None]) & (token_indices <= token_indices[:, None])
    is_token = (token_indices < text_lengths[:, None]) | ~is_text
    sees_itself = torch.eye(len(token_indices), dtype=torch.bool, device=device)
    return (sees_text | sees_block) & is_token[:, None, :] | sees_itself


def additive_mask(attention_mask: Tensor, dtype: torch.dtype) -> Tensor:
    """The additive attention mask (texts, 1, row, row): 0 where attention is allowed, else the dtype's minimum."""
    import torch

    return torch.zeros(attention_mask.shape, dtype=dtype, device=attention_mask.device).masked_fill(
        ~attention_mask, torch.finfo(dtype).min
    )[:, None]


def reference_blocks(layout: BlockLayout, token_ids: Tensor) -> Tensor:
    """Reference token ids (texts, blocks, steps): the text itself at the positions of each block."""
    import torch

    steps = torch.arange(layout.plan.block_length, device=token_ids.device)
    return token_ids[:, (layout.block_starts[:, None] + steps).clamp(max=token_ids.shape[1] - 1)]


def append_blocks(token_ids: Tensor, block_ids: Tensor) -> Tensor:
    """Texts followed by their blocks, step by step. token_ids (rows, length), block_ids (rows, blocks, steps)."""
    import torch

    return torch.cat([token_ids, block_ids.transpose(1, 2).flatten(1)], dim=1)
