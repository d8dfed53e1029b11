"""Joints: where one text begins in rows of texts that were joined end to end, which the rows themselves no longer tell."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

from app.engine.datasets.token_columns import flat
from app.engine.tokens.tokenized_examples import measured

PIECE = 1000  # rows that the library joins at a time
TOLD_BY = 16  # tokens by which a row of a batch is looked for


def beginnings(trainer: Any) -> list[list[int]] | None:
    """For each row where a text begins in it; None of other rows, and where it is not certain which texts were joined."""
    import numpy

    whole, made = trainer.whole, trainer.train_dataset
    if whole is None or {"seq_lengths", "row"} & {*(made.column_names or ())}:
        return None
    long, total = lengths(whole), int(lengths(made).sum())
    if long.sum() != total:  # those with nothing to learn were left out
        long = long[learned(whole)]
    if long.sum() != total or not total:
        return None
    found: list[list[int]] = []
    size = trainer.args.max_length
    for first in range(0, len(long), PIECE):
        piece = long[first : first + PIECE]
        begin = len(found)
        found += [[] for _ in range(-(-int(piece.sum()) // size))]
        for at in numpy.concatenate([[0], numpy.cumsum(piece)[:-1]])[piece > 0].tolist():
            found[begin + at // size].append(at % size)
    return found if len(found) == len(made) else None


def cuts_of(trainer: Any, batch: dict[str, Any]) -> list[list[int]] | None:
    """For each row of a batch where documents begin in it and the last ends; None where that is not known."""
    begins = beginnings(trainer)
    if begins is None:
        return None
    ids, kept = batch["input_ids"].tolist(), batch["attention_mask"].bool().sum(-1).tolist()
    rows = [one[:size] for one, size in zip(ids, kept, strict=True)]
    found = places(trainer.train_dataset, rows)
    return [sorted({0, *(begins[found[number]] if number in found else ()), len(one)}) for number, one in enumerate(ids)]  # fmt: skip


def places(made: Any, rows: list[list[int]]) -> dict[int, int]:
    """{number of a row: its place in the table}."""
    import numpy

    ids, offsets = flat(plain(made).data, "input_ids")
    wanted: dict[bytes, list[int]] = {}
    for number, row in enumerate(rows):
        wanted.setdefault(numpy.asarray(row[:TOLD_BY], ids.dtype).tobytes(), []).append(number)
    found: dict[int, int] = {}
    for place, (start, end) in enumerate(pairwise(offsets.tolist())):
        for number in wanted.get(ids[start : min(end, start + TOLD_BY)].tobytes(), ()):
            if number not in found and end - start == len(rows[number]) and ids[start:end].tolist() == rows[number]:
                found[number] = place
    return found


def lengths(table: Any) -> Any:
    import pyarrow.compute as pc

    return pc.list_value_length(plain(table).data.column("input_ids")).to_numpy()


def plain(table: Any) -> Any:
    """As its rows lie: a filtered table still holds what was left out."""
    return table if table._indices is None else table.flatten_indices()


def learned(table: Any) -> Any:
    """Which rows have anything to learn."""
    return measured(table.select_columns(["input_ids", "labels"]))[1] > 0
