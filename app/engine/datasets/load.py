"""Data: a Spec's sources become the two tables a trainer gets, with a count of what was left out."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from app.core.problems import Problem
from app.data import files, rows
from app.data.rows import Row
from app.engine.datasets.source_reader import Gathering
from app.setup.spec import Spec

if TYPE_CHECKING:
    from datasets import Dataset, IterableDataset

GROWTH = 6  # bytes in memory for each of a file, about: rows as Python has them, and their table
LARGE = 2_000_000_000  # bytes that take seconds to read
LEAST = 700_000_000  # bytes that are left for all else
LOOKED_AFTER = 64  # rows


@dataclass
class Data:
    """train: what is learned. holdout: normalised rows kept aside. dropped: rows left out, by reason. files: hashes. left_out: numbers of the first of them. findings:
    of rows that could not be read."""

    train: Dataset | IterableDataset
    holdout: list[Row]
    dropped: Counter[str] = field(default_factory=Counter)
    files: dict[str, str] = field(default_factory=dict)
    left_out: dict[str, list[int]] = field(default_factory=dict)
    findings: list[dict[str, Any]] = field(default_factory=list)


def load(spec: Spec, layouts: tuple[str, ...], title: str, chat: bool, streaming: bool = False,
         first: int | None = None) -> Data:  # fmt: skip
    """Reads, maps, normalises, weighs, splits. Raises Problem when nothing usable is left.

    chat: the model has a chat template, so plain prompts and completions become messages.
    first: read no more than this many rows of each source and keep none aside, for a preview that must be instant.
    """
    normaliser = rows.Normaliser(layouts, title, chat)
    gathering = Gathering(spec, normaliser, streaming, piecewise=first is not None)
    if streaming:
        aside = [] if first else gathering.held_out()
        return Data(stream(gathering), aside, normaliser.dropped, {} if first else marks(spec))
    if first is None:
        require_room(spec)
    train = [
        row
        for place, source in enumerate(spec.data)
        for row in rows.weighted(list(within_memory(islice(gathering.learned(place), first))), source.weight, spec.seed)
    ]
    train, kept = (train, []) if first else split(train, gathering.held_out(), spec)
    normaliser.dropped.update(unreadable(gathering))
    if not train:
        left_out = ", ".join(f"{count} × {reason}" for reason, count in normaliser.dropped.items())
        raise Problem(f"No usable rows: all were left out ({left_out or 'the file is empty'}).",
                      advice="Check the examples and how their columns are mapped.", reason="no_rows")  # fmt: skip
    require_one_layout(train)
    return Data(
        table(train), kept, normaliser.dropped, {} if first else marks(spec), normaliser.left_out, gathering.findings()
    )


def marks(spec: Spec) -> dict[str, str]:
    """{file: its hash}; of one that takes long to read only its size and time."""

    def mark(path: Path) -> str:
        found = path.stat()
        small = found.st_size < LARGE
        return files.fingerprint(path) if small else f"{found.st_size} bytes, changed at {found.st_mtime:.0f}"

    return {name: mark(path) for name, path in files.files_of(spec).items()}


def unreadable(gathering: Gathering) -> dict[str, int]:
    """{reason: rows} of those that the person chose to leave out as they cannot be read."""
    return {f"{files.name_of(gathering.spec.data[place])} cannot be read there, first {next(iter(one.first.values()))}": one.count
            for place, one in gathering.unread.items() if one.count}  # fmt: skip


def require_room(spec: Spec) -> None:
    """Raises Problem for files that would not fit into memory, where all rows are while they are prepared."""
    import psutil

    size = sum(path.stat().st_size for one in spec.data if not one.limit and (path := files.file_of(one)))
    room = psutil.virtual_memory().available
    if size * GROWTH > room:
        raise Problem(f"The examples hold {size / 1e9:,.1f} GB, and there is memory to prepare about {room / GROWTH / 1e9:,.1f} GB at once.",
                      advice="Read them while training, where the method offers it, or take a slice of them.", reason="too_large")  # fmt: skip


def within_memory(found: Iterator[Row]) -> Iterator[Row]:
    """The rows. Raises Problem before they take all memory: a small file can grow to any size."""
    import psutil

    for number, row in enumerate(found):
        if number % LOOKED_AFTER == 0 and psutil.virtual_memory().available < LEAST:
            raise Problem(f"The examples fill this machine's memory: the first {number:,} of them already do.",
                          advice="Take a slice of them, or shorter ones.", reason="too_large")  # fmt: skip
        yield row


def require_one_layout(train: list[Row]) -> None:
    """Raises Problem when sources of different layouts meet: the trainer would read the first row's columns in all of them."""
    shapes = {columns: row for row in train for columns in [frozenset(row)]}
    found = {rows.layout_of(row, holes=True) for row in shapes.values()}
    if len(found) > 1:
        named = " and ".join(sorted(rows.IN_WORDS[name] for name in found if name in rows.IN_WORDS))
        raise Problem(f"The sources do not fit together: they hold {named}.",
                      advice="Map their columns to the same names, or train on one of them.", reason="wrong_column")  # fmt: skip


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


def stream(gathering: Gathering) -> IterableDataset:
    """Rows read while training, drawn from the sources by their weights, from the start again when they run out."""
    from datasets import IterableDataset

    return IterableDataset.from_generator(gathering.endless)
