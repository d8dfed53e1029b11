"""Document boundaries: where each text begins in rows of texts that were joined end to end."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

from app.engine.datasets.token_columns import flatten_lists
from app.engine.tokens.tokenized_examples import token_counts

if TYPE_CHECKING:
    from datasets import Dataset
    from torch import Tensor

    from app.engine.contracts import Trainer
    from app.engine.tokens.tokenized_examples import BoolArray, IntArray

_WRAPPED_BATCH_ROWS = 1000  # rows that TRL joins at a time
_LOOKUP_TOKENS = 16  # tokens by which a batch's row is looked up in the table


def document_starts(trainer: Trainer) -> list[list[int]] | None:
    """For each row of the trainer's table the positions where texts begin in it; None for rows that are not joined, and
    where it is not certain which texts were joined."""
    import numpy

    texts, joined_rows = trainer.uncut_rows, trainer.train_dataset
    if texts is None or {"seq_lengths", "row"} & {*(joined_rows.column_names or ())}:
        return None
    lengths, total = _row_lengths(texts), int(_row_lengths(joined_rows).sum())
    if lengths.sum() != total:  # texts with nothing to train were left out
        lengths = lengths[_has_trained_tokens(texts)]
    if lengths.sum() != total or not total:
        return None
    starts: list[list[int]] = []
    row_length: int = getattr(trainer.args, "max_length", 0)  # of every row, as texts are joined and cut there
    for first in range(0, len(lengths), _WRAPPED_BATCH_ROWS):
        batch_lengths = lengths[first : first + _WRAPPED_BATCH_ROWS]
        first_row = len(starts)
        starts += [[] for _ in range(-(-int(batch_lengths.sum()) // row_length))]
        offsets = numpy.concatenate([[0], numpy.cumsum(batch_lengths)[:-1]])[batch_lengths > 0].tolist()
        for offset in offsets:
            starts[first_row + offset // row_length].append(offset % row_length)
    return starts if len(starts) == len(joined_rows) else None


def batch_boundaries(trainer: Trainer, batch: dict[str, Tensor]) -> list[list[int]] | None:
    """For each row of a batch where documents begin in it and where the last ends; None where that is not known."""
    starts = document_starts(trainer)
    if starts is None:
        return None
    input_ids = batch["input_ids"].tolist()
    lengths = batch["attention_mask"].bool().sum(-1).tolist()
    unpadded = [token_ids[:length] for token_ids, length in zip(input_ids, lengths, strict=True)]
    row_indices = _row_indices(trainer.train_dataset, unpadded)
    return [
        sorted({0, *(starts[row_indices[index]] if index in row_indices else ()), len(token_ids)})
        for index, token_ids in enumerate(input_ids)
    ]


def _row_indices(table: Dataset, rows: list[list[int]]) -> dict[int, int]:
    """{position of a row in `rows`: index of the same row in the table}."""
    import numpy

    token_ids, offsets = flatten_lists(_flattened(table).data, "input_ids")
    positions_by_prefix: dict[bytes, list[int]] = {}
    for position, row in enumerate(rows):
        prefix = numpy.asarray(row[:_LOOKUP_TOKENS], token_ids.dtype).tobytes()
        positions_by_prefix.setdefault(prefix, []).append(position)
    indices: dict[int, int] = {}
    for index, (start, end) in enumerate(pairwise(offsets.tolist())):
        prefix = token_ids[start : min(end, start + _LOOKUP_TOKENS)].tobytes()
        for position in positions_by_prefix.get(prefix, ()):
            row = rows[position]
            if position not in indices and end - start == len(row) and token_ids[start:end].tolist() == row:
                indices[position] = index
    return indices


def _row_lengths(table: Dataset) -> IntArray:
    import pyarrow.compute as pc

    return pc.list_value_length(_flattened(table).data.column("input_ids")).to_numpy()


def _flattened(table: Dataset) -> Dataset:
    """The table with its rows in order: a filtered table still holds the rows that were filtered out."""
    return table if table._indices is None else table.flatten_indices()


def _has_trained_tokens(table: Dataset) -> BoolArray:
    """Which rows have a token to train."""
    counts = token_counts(table.select_columns(["input_ids", "labels"]))
    assert counts is not None, "a masked table has labels"
    return counts[1] > 0
