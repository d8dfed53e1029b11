"""Data: a Spec's sources become the two tables a trainer gets, with a count of what was left out."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from app import files, pictures, rows
from app.problems import Problem
from app.rows import Row
from app.spec import Source, Spec

if TYPE_CHECKING:
    from datasets import Dataset, IterableDataset


@dataclass
class Data:
    """train: what is learned. holdout: normalised rows kept aside. dropped: rows left out, by reason. files: hashes."""

    train: Dataset | IterableDataset
    holdout: list[Row]
    dropped: Counter[str] = field(default_factory=Counter)
    files: dict[str, str] = field(default_factory=dict)


def load(spec: Spec, layouts: tuple[str, ...], title: str, chat: bool, streaming: bool = False,
         first: int | None = None) -> Data:  # fmt: skip
    """Reads, maps, normalises, weighs, splits. Raises Problem when nothing usable is left.

    chat: the model has a chat template, so plain prompts and completions become messages.
    first: read no more than this many rows of each source and keep none aside, for a preview that must be instant.
    """
    normaliser = rows.Normaliser(layouts, title, chat)
    hashes = {} if first else {one.source: files.fingerprint(path) for one in spec.data if (path := files.file_of(one))}
    if streaming:
        return Data(stream(spec, normaliser), read_holdout(spec, normaliser), normaliser.dropped, hashes)
    train = [
        row
        for source in spec.data
        for row in rows.weighted(read_source(source, normaliser, first), source.weight, spec.seed)
    ]
    train, kept = (train, []) if first else split(train, read_holdout(spec, normaliser), spec)
    if not train:
        left_out = ", ".join(f"{count} × {reason}" for reason, count in normaliser.dropped.items())
        raise Problem(f"No usable rows: all were left out ({left_out or 'the file is empty'}).",
                      advice="Check the examples and how their columns are mapped.", reason="no_rows")  # fmt: skip
    require_one_layout(train)
    return Data(table(train), kept, normaliser.dropped, hashes)


def require_one_layout(train: list[Row]) -> None:
    """Raises Problem when sources of different layouts meet: the trainer would read the first row's columns in all of them."""
    shapes = {columns: row for row in train for columns in [frozenset(row)]}
    found = {rows.layout_of(row, holes=True) for row in shapes.values()}
    if len(found) > 1:
        named = " and ".join(sorted(rows.IN_WORDS[name] for name in found if name in rows.IN_WORDS))
        raise Problem(f"The sources do not fit together: they hold {named}.",
                      advice="Map their columns to the same names, or train on one of them.", reason="wrong_column")  # fmt: skip


def normalised(source: Source, normaliser: rows.Normaliser, split: str | None = None) -> Iterator[Row]:
    path = files.file_of(source, split)
    raw = files.read(path) if path else from_hub(source, split)
    made = pictured(normaliser(raw, source), path.parent if path else None, normaliser)
    yield from islice(made, source.limit)


def pictured(made: Iterator[Row], folder: Path | None, normaliser: rows.Normaliser) -> Iterator[Row]:
    """Rows with their pictures in one form; those whose pictures cannot be had are left out and counted."""
    for row in made:
        shown = pictures.shown(row, folder)
        if isinstance(shown, str):
            normaliser.dropped[shown] += 1
        else:
            yield shown


def read_source(source: Source, normaliser: rows.Normaliser, first: int | None) -> list[Row]:
    return list(islice(normalised(source, normaliser), first))


def from_hub(source: Source, split: str | None) -> Iterator[Row]:
    """Rows of a Hub dataset. Errors of the Hub travel: app/problems.py knows them."""
    from datasets import load_dataset

    name = source.source.removeprefix("hub:")
    yield from load_dataset(name, source.config, split=split or source.split, revision=source.revision)


def read_holdout(spec: Spec, normaliser: rows.Normaliser) -> list[Row]:
    """Held-out rows of a split of the first source; empty when a share of the training rows is asked for instead."""
    if spec.holdout.split is None:
        return []
    return list(normalised(spec.data[0], normaliser, spec.holdout.split))


def split(train: list[Row], kept: list[Row], spec: Spec) -> tuple[list[Row], list[Row]]:
    """Takes the last rows of a seeded shuffle aside when the Spec asks for a share; repeated rows stay on one side."""
    share = spec.holdout.share
    if not share:
        return train, kept
    unique = list({repr(row): row for row in train}.values())
    random.Random(spec.seed).shuffle(unique)
    count = min(max(1, round(share * len(unique))), len(unique) - 1)  # something is left to learn from
    aside = unique[len(unique) - count :]
    names = {repr(row) for row in aside}
    return [row for row in train if repr(row) not in names], aside


def table(train: list[Row]) -> Dataset:
    """Rows as an Arrow table. Turns, tools and template arguments with different keys keep them: no null is filled in. Pictures
    are read from their files when their row is."""
    from datasets import Dataset, Features, Image, Json, List

    if len({tuple(row) for row in train}) > 1:
        train = filled(train)
    loose = {name: kind for name, value in train[0].items() if (kind := looseness(name, value, train))}
    if loose:
        features = Dataset.from_list([{key: value for key, value in row.items() if key not in loose} for row in train[:1000]]).features  # fmt: skip
        made = Dataset.from_list(train, features=Features({**features, **{name: Json() if kind == "thing" else List(Json()) for name, kind in loose.items()}}))  # fmt: skip
    else:
        made = Dataset.from_list(train)
    return made.cast_column("images", List(Image(mode="RGB"))) if "images" in train[0] else made


ABSENT: Row = {"images": [], "chat_template_kwargs": {}}  # what a row has that lacks them; of other columns nothing


def filled(train: list[Row]) -> list[Row]:
    """Rows that all have the same columns: a table has those of its first row alone."""
    names = dict.fromkeys(name for row in train for name in row)
    return [{name: row.get(name, ABSENT.get(name)) for name in names} for row in train]


def looseness(name: str, value: Any, train: list[Row]) -> str:
    """`list` or `thing` where a column's values have keys of their own, which a table would fill up with nulls."""
    if name == "chat_template_kwargs":
        return "thing"
    if name == "tools":
        return "list" if all(row[name] is None or isinstance(row[name], list) for row in train) else ""
    return "list" if is_messages(value) and is_ragged([turn for row in train for turn in row[name] or ()]) else ""


def is_ragged(turns: list[Row]) -> bool:
    """Of different keys, or with parts, which have different keys themselves."""
    return len({tuple(turn) for turn in turns}) > 1 or any(isinstance(turn.get("content"), list) for turn in turns)


def is_messages(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and isinstance(value[0], dict) and "role" in value[0]


def stream(spec: Spec, normaliser: rows.Normaliser) -> IterableDataset:
    """Rows read while training, source after source, from the start again when they run out."""
    from datasets import IterableDataset

    def endless() -> Iterator[Row]:
        while True:
            count = 0
            for source in spec.data:
                for row in normalised(source, normaliser):
                    count += 1
                    yield row
            if not count:
                raise Problem("No usable rows in the stream.", advice="Check the examples.", reason="no_rows")

    return IterableDataset.from_generator(endless)
