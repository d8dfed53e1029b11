"""Labels: characters that are learned become tokens that are. A token is learned when all its characters are."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np

from app.engine.tokens.tokenized_examples import UNLEARNED

SPACES = ("Ġ", "▁", " ")  # how vocabularies write the space a word begins with


class Letters:
    """Which characters of a text are learned."""

    def __init__(self, size: int):
        self.flags = np.zeros(size, dtype=np.int32)

    def set(self, start: int, end: int, learned: bool) -> None:
        self.flags[max(0, start) : max(0, end)] = learned

    def labels(self, ids: list[int], starts: Any, ends: Any) -> list[int]:
        so_far = np.concatenate([[0], np.cumsum(self.flags)])
        whole = (so_far[ends] - so_far[starts] == ends - starts) & (ends > starts)
        return np.where(whole, np.asarray(ids), UNLEARNED).tolist()

    def straddles(self, starts: Any, ends: Any, at: int) -> bool:
        """A token begins before this place and ends behind it."""
        return bool(((starts < at) & (ends > at)).any())


def tokenised(tokenizer: Any, texts: list[str], special: bool) -> list[tuple[list[int], Any, Any]]:
    """(ids, where each begins, where it ends) of each text. special: with what the tokenizer itself adds around plain text."""
    if not texts:
        return []
    found = tokenizer(texts, add_special_tokens=special, return_offsets_mapping=True)
    spaced = begins_with_space(tokenizer, len(tokenizer))
    return [(ids, *spans(ids, offsets, spaced)) for ids, offsets in zip(found["input_ids"], found["offset_mapping"], strict=True)]  # fmt: skip


def spans(ids: list[int], offsets: list[tuple[int, int]], spaced: Any) -> tuple[Any, Any]:
    """Whole tokens: some tokenizers leave the space before a word, or behind it, out of what they say the token covers."""
    if not ids:
        return np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.int64)
    told = np.asarray(offsets, dtype=np.int64).reshape(-1, 2)
    starts, ends = told[:, 0].copy(), told[:, 1].copy()
    before = np.concatenate([[0], np.maximum.accumulate(ends)[:-1]])
    gap = (starts > before) & (ends > starts)
    leads = gap & spaced[np.asarray(ids)]
    starts[leads] = before[leads]
    trails = np.flatnonzero(gap & ~leads)
    ends[trails[trails > 0] - 1] = starts[trails[trails > 0]]
    return starts, ends


@lru_cache(maxsize=4)
def begins_with_space(tokenizer: Any, size: int) -> Any:
    names = tokenizer.convert_ids_to_tokens(list(range(size)))
    return np.asarray([isinstance(name, str) and name.startswith(SPACES) for name in names])
