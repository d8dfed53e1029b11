"""Trainer mixin that reuses rows prepared earlier from the same data and settings, and caches what it prepares."""

from __future__ import annotations

import copy
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from app.engine.datasets import prepared_cache, row_filter
from app.engine.datasets.prepared_cache import PreparedData

if TYPE_CHECKING:
    from app.engine.job import Job

MIN_ROWS_ON_DISK = (
    20_000  # from here on rows are prepared on the disk, so that memory use does not grow with their number
)
_DISK_BYTES_PER_ROW_BYTE = 8  # bytes that all passes over the rows may write, for each byte of the rows


def with_cached_preparation(trainer: type, job: Job) -> type:
    """The trainer's class, with cached preparation. Its `uncut_rows` are the rows before truncation and packing, where these are
    done ahead of the batches, otherwise None."""
    from datasets import Dataset

    class CachedPreparation(trainer):
        uncut_rows = None

        def _prepare_dataset(self, dataset: Any, *args: Any) -> Any:
            if args[-1] != "train" or not isinstance(dataset, Dataset):  # a stream is prepared row by row
                return super()._prepare_dataset(dataset, *args)
            prepared = _prepare_or_reuse(
                job, trainer, _with_row_numbers(dataset), lambda table: self._prepare_uncut_first(table, *args)
            )
            self.uncut_rows = prepared.uncut_rows
            return prepared.train

        def _prepare_uncut_first(self, dataset: Any, *args: Any) -> PreparedData:
            if len(args) == 5 and _can_prepare_in_two_passes(job):
                return _prepare_in_two_passes(job, super()._prepare_dataset, dataset, *args)
            return PreparedData(super()._prepare_dataset(dataset, *args))

    CachedPreparation.__name__ = CachedPreparation.__qualname__ = trainer.__name__
    return _with_token_filter(CachedPreparation, job) if _drops_by_tokens(job) else CachedPreparation


def _can_prepare_in_two_passes(job: Job) -> bool:
    """Distillation trainers store more about the rows than the rows themselves, so in a run they prepare once."""
    return job.preview or getattr(job.method, "FAMILY", "") != "copy"


def _drops_by_tokens(job: Job) -> bool:
    return bool({"cut", "untrained"} & {*job.spec.drop})


def _with_row_numbers(dataset: Any) -> Any:
    """With each row's index in a column `row`, which it keeps whichever other rows are left out."""
    return dataset if "row" in dataset.column_names else dataset.add_column("row", list(range(len(dataset))))


def _prepare_or_reuse(job: Job, trainer: type, dataset: Any, prepare: Callable[[Any], PreparedData]) -> PreparedData:
    """The cached rows of the same data and settings, or rows prepared now, which are cached if that took long enough."""
    from trl import SFTTrainer

    if job.max_rows is not None or getattr(job.method, "FAMILY", "") == "copy":
        return prepare(dataset)
    key = prepared_cache.cache_key(job, dataset, depends_on_batch_size=not issubclass(trainer, SFTTrainer))
    if cached := prepared_cache.find_prepared(key):
        job.data.dropped.update(cached.dropped)
        return cached
    started_at, counts_before = time.monotonic(), job.data.dropped.copy()
    with on_disk(dataset) as table:
        prepared = prepare(table)
        prepared = PreparedData(prepared.train, prepared.uncut_rows, job.data.dropped - counts_before)
        if time.monotonic() - started_at < prepared_cache.MIN_SECONDS:
            return prepared
        return prepared_cache.store_prepared(key, prepared) or prepared


@contextmanager
def on_disk(dataset: Any) -> Iterator[Any]:
    """A large dataset as a table on the disk, so that all tables made from it are there too; they are deleted afterwards."""
    folder = prepared_cache.cache_folder()
    needed_bytes = _DISK_BYTES_PER_ROW_BYTE * dataset.data.nbytes
    if len(dataset) < MIN_ROWS_ON_DISK or folder is None or shutil.disk_usage(folder).free < needed_bytes:
        yield dataset
        return
    from datasets import load_from_disk

    with TemporaryDirectory(prefix=".", dir=folder, ignore_cleanup_errors=True) as draft_folder:
        rows_folder = str(Path(draft_folder) / "rows")
        dataset.save_to_disk(rows_folder)
        yield load_from_disk(rows_folder)


def _prepare_in_two_passes(
    job: Job,
    prepare: Callable[..., Any],
    dataset: Any,
    tokenizer: Any,
    args: Any,
    packing: bool,
    formatting_func: Any,
    name: str,
) -> PreparedData:
    """Tokenizes first, then truncates or packs. TRL leaves rows that are tokens already as they are, so the result is that of its
    single pass. Its passes for truncation then see only the rows that they would change. The last five parameters are those of
    TRL's `_prepare_dataset`."""
    unlimited_args = copy.copy(args)
    unlimited_args.max_length = None
    uncut = prepare(dataset, tokenizer, unlimited_args, False, formatting_func, name)
    remaining = uncut
    if _drops_by_tokens(job):
        remaining = row_filter.drop_by_tokens(job, uncut, row_filter.truncation_length(job))
    if packing:
        return PreparedData(prepare(remaining, tokenizer, args, packing, None, name), uncut)
    truncated = _truncate(remaining, args.max_length, lambda rows: prepare(rows, tokenizer, args, False, None, name))
    return PreparedData(truncated, uncut)


def _truncate(table: Any, limit: int | None, prepare: Callable[[Any], Any]) -> Any:
    """The rows as `prepare` truncates them or leaves them out. It gets only those that it would change."""
    import numpy
    from datasets import concatenate_datasets

    from app.engine.datasets.token_columns import count_tokens

    token_counts = count_tokens(table, None) if len(table) else None
    if token_counts is None:
        return prepare(table)
    lengths, trained_counts = token_counts
    is_changed = (lengths > (limit or lengths.max())) | (trained_counts == 0)
    if not is_changed.any():
        return table
    tables = [table.select((~is_changed).nonzero()[0]), prepare(table.select(is_changed.nonzero()[0]))]
    row_indices = numpy.concatenate([numpy.asarray(table["row"][:], dtype=int) for table in tables])
    return concatenate_datasets(tables).select(row_indices.argsort(kind="stable"))


def _with_token_filter(trainer: type, job: Job) -> type:
    """The trainer's class, without the rows that are dropped for their tokens where preparation did not leave them out already."""
    from trl.trainer.base_trainer import _BaseTrainer

    class TokenFilter(_BaseTrainer):
        def __init__(self, *args: Any, **kwargs: Any):
            table = kwargs.get("train_dataset")
            if self.uncut_rows is None and table is not None and table.column_names:
                limit = row_filter.truncation_length(job)
                kwargs["train_dataset"] = row_filter.drop_by_tokens(job, table, limit)
            super().__init__(*args, **kwargs)

    return type(trainer.__name__, (trainer, TokenFilter), {})
