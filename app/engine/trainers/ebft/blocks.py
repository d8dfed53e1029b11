"""Blocks: short attempts at many places of one text at once, each seeing only what stands before its place, by one mask.

A text is followed in the same row by `steps` tokens of every block, step by step: the first tokens of all blocks, then
their second tokens, and so on. The mask keeps blocks from seeing each other and what comes later in the text.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


def count(length: int, generate: int, context: int, stride: int) -> int:
    """(length − generate − context)/stride + 1 blocks: as many as have their context before them and the truth after."""
    return max(0, (length - generate - context) // stride + 1)


@dataclass(frozen=True)
class Plan:
    """Where blocks stand. context: tokens before the first, and, with `narrow`, all that any of them sees of the text.

    skip: so many tokens of an answer come before its first block. longest: texts are cut off there.
    """

    stride: int = 8
    context: int = 8
    generate: int = 8
    skip: int = 0
    narrow: bool = False
    longest: int = 512

    def places(self, length: int) -> list[int]:
        """Where each block begins in a text of this length."""
        return [self.context + self.stride * i for i in range(count(length, self.generate, self.context, self.stride))]

    def starts(self, length: int, begin: int) -> list[int]:
        """Those that try what should be written: from `begin` on."""
        return [place for place in self.places(length) if place >= begin + (self.skip if begin else 0)]


@dataclass(frozen=True)
class Layout:
    """A batch of texts and its blocks. places (blocks): where they begin; tried (texts, blocks): which of them a text has.

    seen (texts, length + steps × blocks, the same): which token sees which; positions: where each stands in its text.
    """

    plan: Plan
    length: int
    places: Any
    tried: Any
    seen: Any
    positions: Any

    @property
    def blocks(self) -> int:
        return len(self.places)

    def first(self, steps: int) -> int:
        """Where in a row the tokens of this step begin."""
        return self.length + steps * self.blocks


def layout(plan: Plan, mask: Any, begins: Any) -> Layout:
    """mask (texts, length): 1 where a token is. begins (texts): where in each what should be written begins."""
    import torch

    lengths = mask.sum(-1)
    places = torch.tensor(plan.places(int(lengths.max())), device=mask.device, dtype=torch.long)
    first = torch.where(begins > 0, begins + plan.skip, begins)
    tried = (places >= first[:, None]) & (places + plan.generate <= lengths[:, None])
    steps = torch.arange(plan.generate, device=mask.device)
    positions = torch.cat([torch.arange(mask.shape[1], device=mask.device), (places + steps[:, None]).flatten()])
    return Layout(plan, mask.shape[1], places, tried, visible(plan, lengths, mask.shape[1], places), positions)


def visible(plan: Plan, lengths: Any, length: int, places: Any) -> Any:
    """(texts, all, all): may the token in this row see the one in this column? Every token sees itself, also padding."""
    import torch

    blocks, device = len(places), lengths.device
    every = torch.arange(length + plan.generate * blocks, device=device)
    inside = every < length
    block = torch.where(inside, -1, (every - length) % max(1, blocks))
    ends = torch.where(inside, every + 1, places[block] if blocks else every)  # of the text that each token may see
    opens = torch.where(inside, 0, ends - plan.context) if plan.narrow else torch.zeros_like(ends)
    text = inside & (every < ends[:, None]) & (every >= opens[:, None])
    same = ~inside & (block == block[:, None]) & (every <= every[:, None])
    there = (every < lengths[:, None]) | ~inside
    return (text | same) & there[:, None, :] | torch.eye(len(every), dtype=torch.bool, device=device)


def additive(seen: Any, dtype: Any) -> Any:
    """The mask as attention adds it to its scores: 0 where a token is seen, the lowest number there is elsewhere."""
    import torch

    return torch.zeros(seen.shape, dtype=dtype, device=seen.device).masked_fill(~seen, torch.finfo(dtype).min)[:, None]


def truths(layout: Layout, ids: Any) -> Any:
    """(texts, blocks, steps): what the text itself says where each block stands."""
    import torch

    steps = torch.arange(layout.plan.generate, device=ids.device)
    return ids[:, (layout.places[:, None] + steps).clamp(max=ids.shape[1] - 1)]


def rows_with(ids: Any, written: Any) -> Any:
    """Texts followed by their blocks, step by step. ids (rows, length), written (rows, blocks, steps)."""
    import torch

    return torch.cat([ids, written.transpose(1, 2).flatten(1)], dim=1)


def alive(written: Any, ends: list[int]) -> Any:
    """(…, steps): tokens up to the first that ends a text, that one too; what follows it was never meant."""
    import torch

    over = torch.isin(written, torch.tensor(ends, device=written.device)).long()
    return over.cumsum(-1) - over == 0
