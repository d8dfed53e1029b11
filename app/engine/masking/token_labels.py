"""Token labels: from characters that are trained to tokens that are. A token is trained when all its characters are."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np

from app.engine.tokens.tokenized_examples import IGNORE_INDEX

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from app.engine.tokens.tokenized_examples import BoolArray, IntArray

_SPACE_PREFIXES = ("Ġ", "▁", " ")  # how vocabularies write the space that a word begins with


class CharMask:
    """Which characters of a text are trained."""

    def __init__(self, size: int):
        self.is_trained = np.zeros(size, dtype=np.int32)

    def set_range(self, start: int, end: int, is_trained: bool) -> None:
        """Sets the characters from `start` to `end`; positions below 0 count as 0."""
        self.is_trained[max(0, start) : max(0, end)] = is_trained

    def token_labels(self, token_ids: list[int], starts: IntArray, ends: IntArray) -> list[int]:
        """The labels of tokens that cover the characters from starts[i] to ends[i]."""
        running_total = np.concatenate([[0], np.cumsum(self.is_trained)])
        is_fully_trained = (running_total[ends] - running_total[starts] == ends - starts) & (ends > starts)
        return np.where(is_fully_trained, np.asarray(token_ids), IGNORE_INDEX).tolist()


def splits_token(starts: IntArray, ends: IntArray, position: int) -> bool:
    """Whether a token begins before this character and ends behind it."""
    return bool(((starts < position) & (ends > position)).any())


def tokenize_with_offsets(
    tokenizer: PreTrainedTokenizerBase, texts: list[str], add_special_tokens: bool
) -> list[tuple[list[int], IntArray, IntArray]]:
    """(token ids, where each token begins, where it ends) of each text, in characters."""
    if not texts:
        return []
    encoding = tokenizer(texts, add_special_tokens=add_special_tokens, return_offsets_mapping=True)
    starts_with_space = tokens_starting_with_space(tokenizer, len(tokenizer))
    return [
        (token_ids, *token_spans(token_ids, offsets, starts_with_space))
        for token_ids, offsets in zip(encoding["input_ids"], encoding["offset_mapping"], strict=True)
    ]


def token_spans(
    token_ids: list[int], offsets: list[tuple[int, int]], starts_with_space: BoolArray
) -> tuple[IntArray, IntArray]:
    """(starts, ends) of whole tokens: some tokenizers leave the space before or after a word out of the offsets they
    report.

    starts_with_space: for each id of the vocabulary, as from `tokens_starting_with_space`.
    """
    if not token_ids:
        return np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.int64)
    reported = np.asarray(offsets, dtype=np.int64).reshape(-1, 2)
    starts, ends = reported[:, 0].copy(), reported[:, 1].copy()
    previous_end = np.concatenate([[0], np.maximum.accumulate(ends)[:-1]])
    has_gap = (starts > previous_end) & (ends > starts)
    owns_gap = has_gap & starts_with_space[np.asarray(token_ids)]
    starts[owns_gap] = previous_end[owns_gap]
    after_gap = np.flatnonzero(has_gap & ~owns_gap)  # there the gap belongs to the token before
    after_gap = after_gap[after_gap > 0]
    ends[after_gap - 1] = starts[after_gap]
    return starts, ends


@lru_cache(maxsize=4)
def tokens_starting_with_space(tokenizer: PreTrainedTokenizerBase, size: int) -> BoolArray:
    """For each id of the vocabulary whether its token begins with a space."""
    names = tokenizer.convert_ids_to_tokens(list(range(size)))
    return np.asarray([isinstance(name, str) and name.startswith(_SPACE_PREFIXES) for name in names])
