"""Counted: prepared rows as arrays of all their tokens, a piece of the table at a time: which there are, which are learned."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from app.engine.tokens.tokenized_examples import UNLEARNED, answers

PIECE = 8_000  # rows that are in memory at once


@dataclass(frozen=True)
class Texts:
    """One text, or one of several answers, of each row of a piece; all of them numpy arrays.

    ids, learned: of all tokens, one text after another. starts: where each text begins in them, and the end of the last.
    before: tokens that stand before each, in a prompt that answers share. first: the first row's place in the whole table.
    """

    name: str
    ids: Any
    learned: Any
    starts: Any
    before: Any
    first: int

    @property
    def lengths(self) -> Any:
        return self.starts[1:] - self.starts[:-1] + self.before

    def count(self, which: Any, limit: int | None = None) -> Any:
        """How many of the tokens marked in `which` each text has, within the limit."""
        import numpy

        so_far = numpy.concatenate([[0], numpy.cumsum(which)])
        ends = self.starts[1:]
        if limit is not None:
            ends = numpy.minimum(ends, self.starts[:-1] + numpy.maximum(0, limit - self.before))
        return so_far[ends] - so_far[self.starts[:-1]]


def pieces(table: Any) -> Iterator[list[Texts]]:
    """The texts of each piece of a table: one entry for each answer that stands beside the others."""
    if table._indices is not None:
        table = table.flatten_indices()
    for first in range(0, len(table), PIECE):
        found = texts_of(table.data.slice(first, PIECE), first)
        if found:
            yield found


def texts_of(data: Any, first: int) -> list[Texts]:
    """Of a piece of an Arrow table, by its columns as app/engine/tokens/tokenized_examples.py reads them."""
    import numpy

    names = data.column_names
    if "input_ids" in names:
        return [one_text(data, first)]
    if "chosen_input_ids" in names:
        return [sided(data, side, f"{side}_input_ids", f"{side}_labels", first) for side in ("chosen", "rejected")]
    if "prompt_ids" in names:
        before = numpy.diff(flat(data, "prompt_ids")[1])
        return [answer(data, name, before, first) for name in answers(dict.fromkeys(names))]
    return [scored(data, side, first) for side in ("chosen", "rejected") if f"{side}_ids" in names]


def one_text(data: Any, first: int) -> Texts:
    import numpy

    ids, starts = flat(data, "input_ids")
    names = data.column_names
    if "labels" in names:
        learned = flat(data, "labels")[0] != UNLEARNED
    elif "completion_mask" in names:
        learned = flat(data, "completion_mask")[0] != 0
    else:
        learned = numpy.ones(len(ids), bool)
    return Texts("", ids, learned, starts, numpy.zeros(len(starts) - 1, int), first)


def sided(data: Any, name: str, ids: str, labels: str, first: int) -> Texts:
    import numpy

    found, starts = flat(data, ids)
    return Texts(name, found, flat(data, labels)[0] != UNLEARNED, starts, numpy.zeros(len(starts) - 1, int), first)


def answer(data: Any, name: str, before: Any, first: int) -> Texts:
    import numpy

    ids, starts = flat(data, f"{name}_ids")
    return Texts(name, ids, numpy.ones(len(ids), bool), starts, before, first)


def scored(data: Any, name: str, first: int) -> Texts:
    """One score is read of each, at its end."""
    import numpy

    ids, starts = flat(data, f"{name}_ids")
    learned = numpy.zeros(len(ids), bool)
    learned[starts[1:][starts[1:] > starts[:-1]] - 1] = True
    return Texts(name, ids, learned, starts, numpy.zeros(len(starts) - 1, int), first)


def flat(data: Any, name: str) -> tuple[Any, Any]:
    """(all values of a column of lists, where each list begins and the last ends)."""
    import pyarrow

    column = data.column(name).combine_chunks()
    if isinstance(column, pyarrow.ChunkedArray):
        column = pyarrow.concat_arrays(column.chunks)
    offsets = column.offsets.to_numpy()
    return column.values.to_numpy(zero_copy_only=False)[offsets[0] : offsets[-1]], offsets - offsets[0]


def sizes(table: Any, limit: int | None) -> tuple[Any, Any] | None:
    """(tokens, learned): of each row the longest of its texts, and the fewest that are learned of one within the limit; None where
    a table holds no tokens."""
    import numpy

    found = [
        (
            numpy.max([text.lengths for text in piece], axis=0),
            numpy.min([text.count(text.learned, limit) for text in piece], axis=0),
        )
        for piece in pieces(table)
    ]
    return (numpy.concatenate([one[0] for one in found]), numpy.concatenate([one[1] for one in found])) if found else None  # fmt: skip
