"""Batches of tokenized texts of similar lengths, which need little padding, and their padding to tensors."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Literal, TypeVar

if TYPE_CHECKING:
    import torch
    from torch import Tensor

_TextT = TypeVar("_TextT")
_ResultT = TypeVar("_ResultT")


def length_batches(
    lengths: Sequence[int], batch_size: int | Callable[[int], int], *, longest_first: bool = False
) -> list[list[int]]:
    """Indices of the texts with these lengths in batches, sorted by length; those of equal length stay in their order.

    batch_size: texts in a batch, or a function that gives it for the length of the batch's first text; at least 1.
    """
    order = sorted(range(len(lengths)), key=lengths.__getitem__, reverse=longest_first)
    batches = []
    while order:
        size = max(1, batch_size if isinstance(batch_size, int) else batch_size(lengths[order[0]]))
        batches.append(order[:size])
        order = order[size:]
    return batches


def map_batches(
    batches: list[list[int]], texts: Sequence[_TextT], compute: Callable[[list[_TextT]], Iterable[_ResultT]]
) -> list[_ResultT]:
    """What `compute` returns for each text of a batch, in the order of the texts. batches: hold each index once."""
    results: dict[int, _ResultT] = {}
    for batch in batches:
        results |= dict(zip(batch, compute([texts[index] for index in batch]), strict=True))
    return [results[index] for index in range(len(texts))]


def pad_texts(
    texts: Sequence[list[int]],
    device: torch.device | str,
    pad_token_id: int = 0,
    side: Literal["left", "right"] = "right",
) -> tuple[Tensor, Tensor]:
    """(token ids, attention mask), both (texts, longest text); the mask is 1 on tokens and 0 on padding."""
    import torch

    longest = max(map(len, texts))
    token_ids, attention_mask = [], []
    for text in texts:
        padding, token_mask = longest - len(text), [1] * len(text)
        if side == "left":
            token_ids.append([pad_token_id] * padding + text)
            attention_mask.append([0] * padding + token_mask)
        else:
            token_ids.append(text + [pad_token_id] * padding)
            attention_mask.append(token_mask + [0] * padding)
    return torch.tensor(token_ids, device=device), torch.tensor(attention_mask, device=device)
