"""Ready: a trainer's class that begins with rows kept from an earlier preparation of the very same, and keeps what it prepares."""

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
from app.engine.datasets.prepared_cache import Kept

if TYPE_CHECKING:
    from app.engine.job import Job

MANY = 20_000  # rows; from here on they are prepared on the disk, so that memory stays as it is however many there are
GROWTH = 8  # times the rows' bytes, which the passes over them may leave on the disk


def starting(trainer: type, job: Job) -> type:
    """The trainer's class. Its `whole` are the rows before any is cut off or packed, where it cuts them ahead of its batches."""
    from datasets import Dataset

    class Starting(trainer):
        whole = None

        def _prepare_dataset(self, dataset: Any, *rest: Any) -> Any:
            if rest[-1] != "train" or not isinstance(dataset, Dataset):  # a stream is prepared on the way
                return super()._prepare_dataset(dataset, *rest)
            made = prepared(job, trainer, numbered(dataset), lambda table: self.in_strides(table, *rest))
            self.whole = made.whole
            return made.train

        def in_strides(self, dataset: Any, *rest: Any) -> Kept:
            if len(rest) == 5 and strides(job):
                return in_two(job, super()._prepare_dataset, dataset, *rest)
            return Kept(super()._prepare_dataset(dataset, *rest))

    Starting.__name__ = Starting.__qualname__ = trainer.__name__
    return dropping(Starting, job) if asked(job) else Starting


def strides(job: Job) -> bool:
    """May it prepare in two strides? Those that copy another model remember more of it than their rows, and do so once."""
    return job.preview or getattr(job.method, "FAMILY", "") != "copy"


def asked(job: Job) -> bool:
    return bool({"cut", "untrained"} & {*job.spec.drop})


def numbered(dataset: Any) -> Any:
    """With each row's place, which it keeps whichever others are left out."""
    return dataset if "row" in dataset.column_names else dataset.add_column("row", list(range(len(dataset))))


def prepared(job: Job, trainer: type, dataset: Any, prepare: Callable[[Any], Kept]) -> Kept:
    """What was kept of the same rows and settings, or what is prepared now, kept if that took its time."""
    from trl import SFTTrainer

    if job.rows is not None or getattr(job.method, "FAMILY", "") == "copy":
        return prepare(dataset)
    key = prepared_cache.key_of(job, dataset, batch=not issubclass(trainer, SFTTrainer))
    if found := prepared_cache.find(key):
        job.data.dropped.update(found.dropped)
        return found
    began, before = time.monotonic(), job.data.dropped.copy()
    with on_disk(dataset) as table:
        made = prepare(table)
        made = Kept(made.train, made.whole, job.data.dropped - before)
        if time.monotonic() - began < prepared_cache.WORTH:
            return made
        return prepared_cache.keep(key, made) or made


@contextmanager
def on_disk(dataset: Any) -> Iterator[Any]:
    """Many rows as a table on the disk: what is made of it then lies there too, until it is kept or no longer used."""
    room = prepared_cache.room()
    if len(dataset) < MANY or room is None or shutil.disk_usage(room).free < GROWTH * dataset.data.nbytes:
        yield dataset
        return
    from datasets import load_from_disk

    with TemporaryDirectory(prefix=".", dir=room, ignore_cleanup_errors=True) as folder:
        dataset.save_to_disk(str(Path(folder) / "rows"))
        yield load_from_disk(str(Path(folder) / "rows"))


def in_two(job: Job, prepare: Callable[..., Any], dataset: Any, words: Any, args: Any, packing: bool, form: Any, name: str) -> Kept:  # fmt: skip
    """TRL takes rows that are tokens already as they are, so it prepares in two strides what it would in one: whole first, then cut
    off or packed. Its passes for that see only rows that they would change."""
    endless = copy.copy(args)
    endless.max_length = None
    whole = prepare(dataset, words, endless, False, form, name)
    left = row_filter.prepared(job, whole, row_filter.cut_at(job)) if asked(job) else whole
    if packing:
        return Kept(prepare(left, words, args, packing, None, name), whole)
    return Kept(cut(left, args.max_length, lambda rows: prepare(rows, words, args, False, None, name)), whole)


def cut(table: Any, limit: int | None, prepare: Callable[[Any], Any]) -> Any:
    """The rows as `prepare` cuts them off or leaves them out. It is given only those to which it would do something."""
    import numpy
    from datasets import concatenate_datasets

    from app.engine.datasets.token_columns import sizes

    counted = sizes(table, None) if len(table) else None
    if counted is None:
        return prepare(table)
    touched = (counted[0] > (limit or counted[0].max())) | (counted[1] == 0)
    if not touched.any():
        return table
    parts = [table.select((~touched).nonzero()[0]), prepare(table.select(touched.nonzero()[0]))]
    rows = numpy.concatenate([numpy.asarray(part["row"][:], dtype=int) for part in parts])
    return concatenate_datasets(parts).select(rows.argsort(kind="stable"))


def dropping(trainer: type, job: Job) -> type:
    """The trainer's class without rows that are dropped for their tokens, where these were not left out in the strides before."""
    from trl.trainer.base_trainer import _BaseTrainer

    class Before(_BaseTrainer):
        def __init__(self, *args: Any, **kwargs: Any):
            table = kwargs.get("train_dataset")
            if self.whole is None and table is not None and table.column_names:
                kwargs["train_dataset"] = row_filter.prepared(job, table, row_filter.cut_at(job))
            super().__init__(*args, **kwargs)

    return type(trainer.__name__, (trainer, Before), {})
