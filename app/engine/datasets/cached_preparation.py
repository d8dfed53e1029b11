"""Trainer mixin that reuses rows prepared earlier from the same data and settings, and caches what it prepares."""

from __future__ import annotations

import copy
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from app.engine.datasets import prepared_cache, row_filter
from app.engine.datasets.prepared_cache import PreparedData
from app.engine.datasets.trained_tokens import require_trained_tokens
from app.engine.trainer_class import named_after

if TYPE_CHECKING:
    from datasets import Dataset, IterableDataset
    from transformers import PreTrainedTokenizerBase, ProcessorMixin, TrainingArguments
    from trl import SFTConfig

    from app.data.fields import Row
    from app.engine.job import Job

    _FormattingFunction = Callable[[Row], str] | None

MIN_ROWS_ON_DISK = (
    20_000  # from here on rows are prepared on the disk, so that memory use does not grow with their number
)
_DISK_BYTES_PER_ROW_BYTE = 8  # bytes that all passes over the rows may write, for each byte of the rows


def with_cached_preparation(trainer: type, job: Job) -> type:
    """The trainer's class, with cached preparation. Its `uncut_rows` are the rows before truncation and packing, where these are
    done ahead of the batches, otherwise None."""
    from trl import SFTTrainer

    caching_class = _caching_sft_class if issubclass(trainer, SFTTrainer) else _caching_class
    caching_trainer = caching_class(trainer, job)
    return _with_token_filter(caching_trainer, job) if _drops_by_tokens(job) else caching_trainer


def _caching_sft_class(trainer: type, job: Job) -> type:
    """For TRL's SFTTrainer and the trainers that extend it: they can pack."""

    @named_after(trainer)
    class Caching(trainer):
        uncut_rows = None

        def _prepare_dataset(
            self,
            dataset: Dataset | IterableDataset,
            processing_class: PreTrainedTokenizerBase | ProcessorMixin,
            args: SFTConfig,
            packing: bool,
            formatting_func: _FormattingFunction,
            dataset_name: str,
        ) -> Dataset | IterableDataset:
            prepare_rows = super()._prepare_dataset

            def prepare(rows: Dataset, args: SFTConfig, packing: bool, formatting_func: _FormattingFunction) -> Dataset:
                return prepare_rows(rows, processing_class, args, packing, formatting_func, dataset_name)

            def prepare_uncut_first(rows: Dataset) -> PreparedData:
                if _can_prepare_in_two_passes(job):
                    return _prepare_in_two_passes(job, prepare, rows, args, packing, formatting_func)
                return PreparedData(prepare(rows, args, packing, formatting_func))

            if not _is_cacheable(dataset, dataset_name):
                return prepare(dataset, args, packing, formatting_func)
            prepared = _prepare_or_reuse(job, trainer, _with_row_numbers(dataset), prepare_uncut_first)
            self.uncut_rows = prepared.uncut_rows
            return prepared.train

    return Caching


def _caching_class(trainer: type, job: Job) -> type:
    """For TRL's other trainers; some never call this method, because their rows are tokenized elsewhere."""

    @named_after(trainer)
    class Caching(trainer):
        uncut_rows = None

        def _prepare_dataset(
            self,
            dataset: Dataset | IterableDataset,
            processing_class: PreTrainedTokenizerBase | ProcessorMixin,
            args: TrainingArguments,
            dataset_name: str,
        ) -> Dataset | IterableDataset:
            prepare_rows = super()._prepare_dataset

            def prepare(rows: Dataset) -> PreparedData:
                return PreparedData(prepare_rows(rows, processing_class, args, dataset_name))

            if not _is_cacheable(dataset, dataset_name):
                return prepare(dataset).train
            prepared = _prepare_or_reuse(job, trainer, _with_row_numbers(dataset), prepare)
            self.uncut_rows = prepared.uncut_rows
            return prepared.train

    return Caching


def _is_cacheable(dataset: Dataset | IterableDataset, dataset_name: str) -> bool:
    """Whether these are the training rows as a table; a stream is prepared row by row."""
    from datasets import Dataset

    return dataset_name == "train" and isinstance(dataset, Dataset)


def _can_prepare_in_two_passes(job: Job) -> bool:
    """Distillation trainers store more about the rows than the rows themselves, so in a run they prepare once."""
    return job.preview or not job.method.prepares_rows_with_teacher


def _drops_by_tokens(job: Job) -> bool:
    return bool({"cut", "untrained"} & {*job.spec.drop})


def _with_row_numbers(dataset: Dataset) -> Dataset:
    """With each row's index in a column `row`, which it keeps whichever other rows are left out."""
    return dataset if "row" in dataset.column_names else dataset.add_column("row", list(range(len(dataset))))


def _prepare_or_reuse(
    job: Job, trainer: type, dataset: Dataset, prepare: Callable[[Dataset], PreparedData]
) -> PreparedData:
    """The cached rows of the same data and settings, or rows prepared now, which are cached if that took long enough."""
    if job.max_rows is not None or job.method.prepares_rows_with_teacher:
        prepared = prepare(dataset)
        require_trained_tokens(job, prepared.train, prepared.uncut_rows)
        return prepared
    key = prepared_cache.cache_key(job, dataset)
    if cached := prepared_cache.find_prepared(key):
        job.data.dropped.update(cached.dropped)
        return cached
    started_at, counts_before = time.monotonic(), job.data.dropped.copy()
    with on_disk(dataset) as table:
        prepared = prepare(table)
        require_trained_tokens(job, prepared.train, prepared.uncut_rows)  # before it is cached
        prepared = PreparedData(prepared.train, prepared.uncut_rows, job.data.dropped - counts_before)
        if time.monotonic() - started_at < prepared_cache.MIN_SECONDS:
            return prepared
        return prepared_cache.store_prepared(key, prepared) or prepared


@contextmanager
def on_disk(dataset: Dataset) -> Iterator[Dataset]:
    """A large dataset as a table on the disk, so that all tables made from it are there too; they are deleted afterwards."""
    folder = prepared_cache.cache_folder()
    needed_bytes = _DISK_BYTES_PER_ROW_BYTE * dataset.data.nbytes
    if len(dataset) < MIN_ROWS_ON_DISK or folder is None or shutil.disk_usage(folder).free < needed_bytes:
        yield dataset
        return
    from datasets import load_from_disk

    with prepared_cache.draft_folder(folder) as draft:
        rows_folder = str(draft / "rows")
        dataset.save_to_disk(rows_folder)
        yield load_from_disk(rows_folder)


def _prepare_in_two_passes(
    job: Job,
    prepare: Callable[[Dataset, SFTConfig, bool, _FormattingFunction], Dataset],
    dataset: Dataset,
    args: SFTConfig,
    packing: bool,
    formatting_func: _FormattingFunction,
) -> PreparedData:
    """Tokenizes first, then truncates or packs. TRL leaves rows that are tokens already as they are, so the result is that of its
    single pass. Its passes for truncation then see only the rows that they would change. The last three parameters are
    those of TRL's `_prepare_dataset`; `prepare` calls it with rows and these three."""
    unlimited_args = copy.copy(args)
    unlimited_args.max_length = None
    uncut = prepare(dataset, unlimited_args, False, formatting_func)
    remaining = uncut
    if _drops_by_tokens(job):
        remaining = row_filter.drop_by_tokens(job, uncut, row_filter.truncation_length(job))
    if not len(remaining):
        return PreparedData(remaining, uncut)
    if packing:
        return PreparedData(prepare(remaining, args, packing, None), uncut)
    truncated = _truncate(remaining, args.max_length, lambda rows: prepare(rows, args, False, None))
    return PreparedData(truncated, uncut)


def _truncate(table: Dataset, limit: int | None, prepare: Callable[[Dataset], Dataset]) -> Dataset:
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
        uncut_rows: Dataset | None  # of the trainer it is combined with

        def __init__(self, **kwargs: Any):
            table = kwargs.get("train_dataset")
            if self.uncut_rows is None and table is not None and table.column_names:
                limit = row_filter.truncation_length(job)
                kwargs["train_dataset"] = row_filter.drop_by_tokens(job, table, limit)
                require_trained_tokens(job, kwargs["train_dataset"], table)
            super().__init__(**kwargs)

    return named_after(trainer)(type("TokenFiltered", (trainer, TokenFilter), {}))
