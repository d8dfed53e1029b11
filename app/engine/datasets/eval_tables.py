"""Tables of the rows that evaluations measure: the held-out ones, and each evaluation set, which a trainer prepares at once."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from app.data.fields import Row
from app.engine.datasets.load import build_table
from app.setup.sources import MAX_EVAL_ROWS

if TYPE_CHECKING:
    from datasets import Dataset, DatasetDict

    from app.engine.contracts import Trainer
    from app.engine.job import Job


def eval_tables(job: Job, build: Callable[[list[Row]], Dataset | None] | None = None) -> DatasetDict | None:
    """{name of the set: table} for the loss in evaluations, as the `eval_dataset` of a trainer that is being built; None in a
    preview, or where there are no rows to evaluate.

    build: makes the table of a set, None where none of its rows can be used; otherwise they are as the training rows.
    """
    from datasets import DatasetDict

    if job.preview:
        return None
    build = build or (lambda rows: plain_table(job, rows))
    tables = {name: build(rows[:MAX_EVAL_ROWS]) for name, rows in job.data.evaluated_sets.items()}
    return DatasetDict({name: table for name, table in tables.items() if table is not None}) or None


def plain_table(job: Job, rows: list[Row]) -> Dataset:
    """Rows as the training rows are before the trainer prepares them."""
    return job.add_template_arguments(build_table(rows))


def separate_eval_tables(trainer: Any) -> None:
    """Keeps the prepared tables of a built trainer apart, so that each evaluation measures one: at first the deciding one."""
    prepared = getattr(trainer, "eval_dataset", None)
    trainer.eval_tables = dict(prepared) if isinstance(prepared, dict) else {}
    if trainer.eval_tables:
        trainer.eval_dataset = next(iter(trainer.eval_tables.values()))


@contextmanager
def evaluated_on(job: Job, trainer: Trainer, set_name: str) -> Iterator[Job]:
    """A job whose held-out rows are those of one set, which the trainer reads as its own meanwhile. So a method measures
    every set as it does the held-out rows. A set without rows is an evaluation without any."""
    job_on_set, own_table = copy.copy(job), trainer.eval_dataset
    rows = job.data.evaluated_sets.get(set_name, [])
    job_on_set.data = dataclasses.replace(job.data, holdout=rows, eval_sets={})
    job_on_set.evaluated_set = set_name
    trainer.eval_dataset = trainer.eval_tables.get(set_name)
    try:
        yield job_on_set
    finally:
        trainer.eval_dataset = own_table
