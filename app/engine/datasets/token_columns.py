"""Token columns of a prepared table as numpy arrays, one chunk of rows at a time: all token ids, and which of them are trained."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from app.engine.tokens.tokenized_examples import IGNORE_INDEX, completion_names

if TYPE_CHECKING:
    import pyarrow
    from datasets import Dataset

    from app.engine.tokens.tokenized_examples import BoolArray, IntArray

CHUNK_ROWS = 8_000  # rows that are in memory at once
# Tokens around the last trained one in which its end token is searched: templates write a line break after it.
_EOS_WINDOW = 3


@dataclass(frozen=True)
class TokenBatch:
    """One text of each row of a chunk; a row with several answers has one batch for each.

    name: of the answer, empty for the only text. token_ids, is_trained: all tokens, one text after another, shape
    (tokens,). starts: where each text begins in them, and the end of the last, shape (rows + 1,). prompt_lengths:
    tokens before each text, in a prompt that the answers share, shape (rows,). first_row: index of the first row in the
    table.
    """

    name: str
    token_ids: IntArray
    is_trained: BoolArray
    starts: IntArray
    prompt_lengths: IntArray
    first_row: int

    @property
    def lengths(self) -> IntArray:
        """Tokens of each text with its prompt."""
        return self.starts[1:] - self.starts[:-1] + self.prompt_lengths

    def count(self, token_mask: BoolArray, limit: int | None = None) -> IntArray:
        """How many tokens of `token_mask` each text has within the limit."""
        import numpy

        cumulative = numpy.concatenate([[0], numpy.cumsum(token_mask)])
        ends = self.starts[1:]
        if limit is not None:
            ends = numpy.minimum(ends, self.starts[:-1] + numpy.maximum(0, limit - self.prompt_lengths))
        return cumulative[ends] - cumulative[self.starts[:-1]]


def iterate_token_batches(table: Dataset) -> Iterator[list[TokenBatch]]:
    """The token batches of each chunk of a table: one, or one for each of several answers."""
    if table._indices is not None:
        table = table.flatten_indices()
    for first_row in range(0, len(table), CHUNK_ROWS):
        token_batches = _token_batches(table.data.slice(first_row, CHUNK_ROWS), first_row)
        if token_batches:
            yield token_batches


def _token_batches(chunk: pyarrow.Table, first_row: int) -> list[TokenBatch]:
    """Of a chunk of an Arrow table, by its columns as app/engine/tokens/tokenized_examples.py reads them."""
    import numpy

    names = chunk.column_names
    sides = ("chosen", "rejected")
    if "input_ids" in names:
        return [_single_text(chunk, first_row)]
    if "chosen_input_ids" in names:
        return [_labelled_side(chunk, side, first_row) for side in sides]
    if "prompt_ids" in names:
        prompt_lengths = numpy.diff(flatten_lists(chunk, "prompt_ids")[1])
        return [
            _completion_after_prompt(chunk, name, prompt_lengths, first_row)
            for name in completion_names(dict.fromkeys(names))
        ]
    return [_scored_side(chunk, side, first_row) for side in sides if f"{side}_ids" in names]


def _single_text(chunk: pyarrow.Table, first_row: int) -> TokenBatch:
    import numpy

    token_ids, starts = flatten_lists(chunk, "input_ids")
    names = chunk.column_names
    if "labels" in names:
        is_trained = flatten_lists(chunk, "labels")[0] != IGNORE_INDEX
    elif "completion_mask" in names:
        is_trained = flatten_lists(chunk, "completion_mask")[0] != 0
    else:
        is_trained = numpy.ones(len(token_ids), bool)
    return TokenBatch("", token_ids, is_trained, starts, numpy.zeros(len(starts) - 1, int), first_row)


def _labelled_side(chunk: pyarrow.Table, side: str, first_row: int) -> TokenBatch:
    """An answer with its prompt and its own labels."""
    import numpy

    token_ids, starts = flatten_lists(chunk, f"{side}_input_ids")
    is_trained = flatten_lists(chunk, f"{side}_labels")[0] != IGNORE_INDEX
    return TokenBatch(side, token_ids, is_trained, starts, numpy.zeros(len(starts) - 1, int), first_row)


def _completion_after_prompt(chunk: pyarrow.Table, name: str, prompt_lengths: IntArray, first_row: int) -> TokenBatch:
    """An answer whose prompt is in a column of its own; all of it is trained."""
    import numpy

    token_ids, starts = flatten_lists(chunk, f"{name}_ids")
    return TokenBatch(name, token_ids, numpy.ones(len(token_ids), bool), starts, prompt_lengths, first_row)


def _scored_side(chunk: pyarrow.Table, side: str, first_row: int) -> TokenBatch:
    """A text of which a reward model reads one score, at its last token."""
    import numpy

    token_ids, starts = flatten_lists(chunk, f"{side}_ids")
    is_trained = numpy.zeros(len(token_ids), bool)
    is_trained[starts[1:][starts[1:] > starts[:-1]] - 1] = True
    return TokenBatch(side, token_ids, is_trained, starts, numpy.zeros(len(starts) - 1, int), first_row)


def flatten_lists(chunk: pyarrow.Table, name: str) -> tuple[IntArray, IntArray]:
    """(all elements of a column of lists, where each list begins and the last one ends)."""
    import pyarrow

    column = chunk.column(name).combine_chunks()
    if isinstance(column, pyarrow.ChunkedArray):
        column = pyarrow.concat_arrays(column.chunks)
    offsets = column.offsets.to_numpy()
    return column.values.to_numpy(zero_copy_only=False)[offsets[0] : offsets[-1]], offsets - offsets[0]


def count_tokens(table: Dataset, limit: int | None) -> tuple[IntArray, IntArray] | None:
    """(lengths, trained counts): for each row the length of its longest text, and the smallest number of trained tokens that one
    of its texts has within the limit. None for a table without tokens."""
    import numpy

    lengths, trained_counts = [], []
    for token_batches in iterate_token_batches(table):
        lengths.append(numpy.max([batch.lengths for batch in token_batches], axis=0))
        trained_counts.append(numpy.min([batch.count(batch.is_trained, limit) for batch in token_batches], axis=0))
    return (numpy.concatenate(lengths), numpy.concatenate(trained_counts)) if lengths else None


def missing_end_tokens(batch: TokenBatch, end_token_ids: list[int], limit: int | None) -> tuple[BoolArray, BoolArray]:
    """(the end token after the last trained token is not trained, there is no end token), two boolean arrays over the texts.
    False for texts that are truncated at the limit or train nothing."""
    import numpy

    positions = numpy.arange(len(batch.token_ids))
    starts, stops = batch.starts[:-1], batch.starts[1:]
    last_trained_until = numpy.maximum.accumulate(numpy.where(batch.is_trained, positions, -1))
    if len(positions):
        last_trained = numpy.where(stops > starts, last_trained_until[numpy.maximum(stops - 1, 0)], -1)
    else:
        last_trained = numpy.full(len(starts), -1)
    is_judged = (last_trained >= starts) & (batch.lengths <= (limit or batch.lengths.max(initial=0)))
    is_end = numpy.isin(batch.token_ids, end_token_ids)

    def has_end_at(offsets: range) -> BoolArray:
        """Whether one of the tokens at these offsets from the last trained one is an end token of the same text."""
        has_end = numpy.zeros(len(last_trained), bool)
        for offset in offsets:
            position = last_trained + offset
            is_inside = (position >= starts) & (position < stops)
            has_end[is_inside] |= is_end[position[is_inside]]
        return has_end

    has_trained_end = has_end_at(range(0, -_EOS_WINDOW, -1))
    has_later_end = has_end_at(range(1, _EOS_WINDOW + 1))
    return is_judged & ~has_trained_end & has_later_end, is_judged & ~has_trained_end & ~has_later_end
