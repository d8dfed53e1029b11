"""Loading of a Spec's sources: the training table and the held-out rows, with counts of the rows left out."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import islice
from typing import TYPE_CHECKING

from app.contracts import Finding
from app.core.problems import Problem
from app.data import rows
from app.data.fields import Cell
from app.data.reading import files
from app.data.refused_rows import RefusedRows
from app.data.rows import Row
from app.engine.datasets.source_reader import SourceReader
from app.setup.sources import HELD_OUT_SET, MAX_EVAL_ROWS
from app.setup.spec import Spec

if TYPE_CHECKING:
    from datasets import Dataset, IterableDataset

_MEMORY_PER_FILE_BYTE = 6  # bytes in memory for each byte of a file, roughly: Python rows and their table
MIN_FREE_MEMORY = 700_000_000  # bytes that loading leaves for everything else
_MEMORY_CHECK_INTERVAL = 64  # rows


@dataclass
class LoadedData:
    """train: the training rows. holdout: normalized held-out rows. eval_sets: {name: rows} of evaluation sets. dropped: rows
    left out, by reason. files: {file: hash}. dropped_row_numbers: the first rows left out, by reason. findings: on rows that
    could not be read, or not be used."""

    train: Dataset | IterableDataset
    holdout: list[Row]
    eval_sets: dict[str, list[Row]] = field(default_factory=dict)
    dropped: Counter[str] = field(default_factory=Counter)
    files: dict[str, str] = field(default_factory=dict)
    dropped_row_numbers: dict[str, list[int]] = field(default_factory=dict)
    findings: list[Finding] = field(default_factory=list)

    @property
    def evaluated_sets(self) -> dict[str, list[Row]]:
        """{name: rows} of all that evaluations measure: the held-out rows, where there are any, then the evaluation sets."""
        return ({HELD_OUT_SET: self.holdout} if self.holdout else {}) | self.eval_sets

    @property
    def deciding_rows(self) -> list[Row]:
        """The rows whose measures decide which checkpoint is the best: see `deciding_set` in app/runs/eval_sets.py."""
        return next(iter(self.evaluated_sets.values()), [])

    @property
    def num_loss_rows(self) -> int:
        """How many rows one evaluation computes the loss on."""
        return sum(min(len(evaluated), MAX_EVAL_ROWS) for evaluated in self.evaluated_sets.values())


def load_data(
    spec: Spec,
    layouts: tuple[str, ...],
    title: str,
    chat: bool,
    streaming: bool = False,
    max_rows: int | None = None,
    refused_rows: RefusedRows | None = None,
) -> LoadedData:
    """Reads, maps, normalizes, weights and splits the rows. Raises Problem when no usable row remains.

    layouts, title: of the method. chat: the model has a chat template, so plain prompts and completions become
    messages. max_rows: reads no more than this many rows of each source and holds none out, for a preview that must be
    instant. refused_rows: what happens to rows that may be left out only where the person allows it.
    """
    normalizer = rows.RowNormalizer(layouts, title, chat, refused_rows or RefusedRows(spec=spec))
    reader = SourceReader(spec, normalizer, streaming, piecewise=max_rows is not None)
    if streaming:
        if max_rows:
            return LoadedData(_streaming_dataset(reader), [], dropped=normalizer.drop_counts)
        held_out, eval_sets = reader.held_out(), reader.eval_sets()
        stream, hashes = _streaming_dataset(reader), files.fingerprints(spec)
        return LoadedData(stream, held_out, eval_sets, normalizer.drop_counts, hashes)
    if max_rows is None:
        _require_memory_for_files(spec)
    train = _read_training_rows(spec, reader, max_rows)
    train, held_out = (train, []) if max_rows else split_by_share(train, reader.held_out(), spec)
    eval_sets = {} if max_rows else reader.eval_sets()
    normalizer.drop_counts.update(_unreadable_counts(reader))
    if not train:
        normalizer.refused_rows.require_none()
    _require_rows(train, normalizer.drop_counts)
    _require_one_layout(train)
    for name, evaluated_rows in eval_sets.items():
        with rows.problems_of_set(name):
            rows.require_type_of(train[0], evaluated_rows[0])
    return LoadedData(
        build_table(train),
        held_out,
        eval_sets,
        normalizer.drop_counts,
        {} if max_rows else files.fingerprints(spec),
        normalizer.dropped_row_numbers,
        reader.findings() + normalizer.findings(),
    )


def _read_training_rows(spec: Spec, reader: SourceReader, max_rows: int | None) -> list[Row]:
    """The rows of all sources, each as often as its source's weight says. max_rows: of each source."""
    train: list[Row] = []
    for source_index, source in enumerate(spec.data):
        source_rows = list(_require_free_memory(islice(reader.training_rows(source_index), max_rows)))
        train += rows.repeat_by_weight(source_rows, source.weight, spec.seed)
    return train


def _require_rows(train: list[Row], drop_counts: Counter[str]) -> None:
    """Raises Problem, with the reasons, when all rows were left out."""
    if not train:
        reasons = ", ".join(f"{count} × {reason}" for reason, count in drop_counts.items())
        raise Problem(
            f"No usable rows: all were left out ({reasons or 'the file is empty'}).",
            advice="Check the examples and how their columns are mapped.",
            reason="no_rows",
        )


def _unreadable_counts(reader: SourceReader) -> dict[str, int]:
    """{reason: count} of the unreadable rows that the person chose to leave out."""
    counts = {}
    for source_index, unreadable in reader.unreadable_rows.items():
        if unreadable.count:
            name = files.display_name(reader.spec.data[source_index])
            first_reason = next(iter(unreadable.reasons_by_row.values()))
            counts[f"{name} cannot be read there, first {first_reason}"] = unreadable.count
    return counts


# -- memory -------------------------------------------------------------------------------------------------------


def _require_memory_for_files(spec: Spec) -> None:
    """Raises Problem for files that do not fit into memory, where all rows are while they are prepared."""
    import psutil

    unlimited_paths = [files.source_path(source) for source in spec.data if not source.limit]
    size = sum(path.stat().st_size for path in unlimited_paths if path)
    free_bytes = psutil.virtual_memory().available
    if size * _MEMORY_PER_FILE_BYTE > free_bytes:
        raise Problem(
            f"The examples hold {size / 1e9:,.1f} GB, and there is memory to prepare about {free_bytes / _MEMORY_PER_FILE_BYTE / 1e9:,.1f} GB at once.",
            advice="Read them while training, where the method offers it, or take a slice of them.",
            reason="too_large",
        )


def _require_free_memory(rows_to_load: Iterator[Row]) -> Iterator[Row]:
    """The rows. Raises Problem before they fill all memory: a small compressed file can grow to any size."""
    import psutil

    for count, row in enumerate(rows_to_load):
        if count % _MEMORY_CHECK_INTERVAL == 0 and psutil.virtual_memory().available < MIN_FREE_MEMORY:
            raise Problem(
                f"The examples fill this machine's memory: the first {count:,} of them already do.",
                advice="Take a slice of them, or shorter ones.",
                reason="too_large",
            )
        yield row


# -- splitting ----------------------------------------------------------------------------------------------------


def _require_one_layout(train: list[Row]) -> None:
    """Raises Problem when the sources have different layouts: the trainer would expect the first row's columns in all rows."""
    rows_by_columns = {frozenset(row): row for row in train}
    row_types = {rows.row_type_of(row, allow_null=True) for row in rows_by_columns.values()}
    if len(row_types) > 1:
        column_texts = rows.REQUIRED_COLUMNS_TEXT
        layouts_text = " and ".join(sorted(column_texts[name] for name in row_types if name in column_texts))
        raise Problem(
            f"The sources do not fit together: they hold {layouts_text}.",
            advice="Map their columns to the same names, or train on one of them.",
            reason="wrong_column",
        )


def split_by_share(train: list[Row], held_out: list[Row], spec: Spec) -> tuple[list[Row], list[Row]]:
    """(training rows, held-out rows). Where the Spec holds out a share, the last rows of a seeded shuffle; repeated rows are all on
    one side, and at least one row remains for training."""
    share = spec.holdout.share
    if not share:
        return train, held_out
    unique_rows = list({repr(row): row for row in train}.values())
    random.Random(spec.seed).shuffle(unique_rows)
    count = min(max(1, round(share * len(unique_rows))), len(unique_rows) - 1)
    drawn_rows = unique_rows[len(unique_rows) - count :]
    drawn_keys = {repr(row) for row in drawn_rows}
    return [row for row in train if repr(row) not in drawn_keys], drawn_rows


# -- tables -------------------------------------------------------------------------------------------------------

_COLUMN_DEFAULTS: Row = {"images": [], "chat_template_kwargs": {}}  # in rows that lack them; other columns become null


def build_table(rows_to_store: list[Row]) -> Dataset:
    """Rows as an Arrow table. Messages, tools and template arguments keep their different keys, without nulls filled in. Images are
    read from their files when their row is read."""
    from datasets import Dataset, Features, Image, Json, List

    if len({tuple(row) for row in rows_to_store}) > 1:
        rows_to_store = _with_all_columns(rows_to_store)
    first_row = rows_to_store[0]
    json_shapes = {
        name: shape for name, column in first_row.items() if (shape := _json_shape(name, column, rows_to_store))
    }
    features = None
    if json_shapes:
        sample = [{name: row[name] for name in row if name not in json_shapes} for row in rows_to_store[:1000]]
        json_features = {name: Json() if shape == "object" else List(Json()) for name, shape in json_shapes.items()}
        features = Features({**Dataset.from_list(sample).features, **json_features})
    table = Dataset.from_list(rows_to_store, features=features)
    return table.cast_column("images", List(Image(mode="RGB"))) if "images" in first_row else table


def _with_all_columns(incomplete_rows: list[Row]) -> list[Row]:
    """Rows that all have the same columns: a table would have only those of its first row."""
    names = dict.fromkeys(name for row in incomplete_rows for name in row)
    return [{name: row.get(name, _COLUMN_DEFAULTS.get(name)) for name in names} for row in incomplete_rows]


def _json_shape(name: str, column: Cell, all_rows: list[Row]) -> str:
    """`list` or `object` where the dicts of a column differ in their keys, which Arrow would fill with nulls; otherwise empty.
    column: its content in the first row."""
    if name == "chat_template_kwargs":
        return "object"
    if name == "tools":
        return "list" if all(row[name] is None or isinstance(row[name], list) for row in all_rows) else ""
    if not _is_message_list(column):
        return ""
    return "list" if _has_differing_keys([message for row in all_rows for message in row[name] or ()]) else ""


def _has_differing_keys(messages: list[Row]) -> bool:
    """Whether messages have different keys, or content in parts, which have different keys themselves."""
    has_parts = any(isinstance(message.get("content"), list) for message in messages)
    return has_parts or len({tuple(message) for message in messages}) > 1


def _is_message_list(column: Cell) -> bool:
    return isinstance(column, list) and bool(column) and isinstance(column[0], dict) and "role" in column[0]


def _streaming_dataset(reader: SourceReader) -> IterableDataset:
    """Rows that are read during training, drawn from the sources by their weights."""
    from datasets import IterableDataset

    return IterableDataset.from_generator(reader.endless_rows)
