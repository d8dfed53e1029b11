"""Order: which rows come when is decided by seed and epoch alone, so that a run resumed in a later epoch sees the same rows.

The libraries' samplers for grouping by length and for repeating prompts draw each epoch's order from a random generator
that has run on since the start. A resumed process cannot know how far; its losses differed from an undisturbed run's from
the second epoch on, which tests/bench/faults.py found.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any


def resumable(trainer: type) -> type:
    """The trainer's class with such an order. In the first epoch, and for repeated prompts in all, it is TRL's own order."""
    from torch.utils.data import RandomSampler, SequentialSampler

    class Resumable(trainer):
        def _get_train_sampler(self, *args: Any, **kwargs: Any) -> Any:
            if self.args.train_sampling_strategy == "group_by_length" and not kwargs:
                args = (by_length(*args or [self.train_dataset]),)
            sampler = super()._get_train_sampler(*args, **kwargs)
            if sampler is None or isinstance(sampler, RandomSampler | SequentialSampler):
                return sampler  # accelerate seeds these by epoch itself
            return ByEpoch(sampler, self.args.seed)

        def _run_epoch(self, **kwargs: Any) -> None:
            """Nothing when all steps are made: resumed in mid-epoch from its last checkpoint, the loop would make one too many."""
            if self.state.global_step < self.state.max_steps:
                super()._run_epoch(**kwargs)

    Resumable.__name__ = Resumable.__qualname__ = trainer.__name__
    return Resumable


def by_length(table: Any) -> Any:
    """What a sampler that groups by length needs of a table, so that it does not read every row to count its tokens."""
    from datasets import Dataset
    from pyarrow import compute

    if not isinstance(table, Dataset) or not len(table) or "input_ids" not in table.column_names:
        return table
    tokens = table.select_columns("input_ids").with_format("arrow")[:]["input_ids"]
    return [{"input_ids": range(length)} for length in compute.list_value_length(tokens).to_pylist()]


class ByEpoch:
    """A sampler whose order follows from (seed, epoch). The training loop tells it the epoch before each pass."""

    def __init__(self, inner: Any, seed: int):
        self.inner, self.seed, self.epoch = inner, seed, 0

    def __len__(self) -> int:
        return len(self.inner)

    def set_epoch(self, epoch: int) -> None:
        self.epoch = epoch

    def __iter__(self) -> Iterator[int]:
        import torch

        if hasattr(self.inner, "mini_repeat_count"):  # TRL's RepeatSampler: the n-th draw of its own generator
            if self.inner.shuffle:
                self.inner.generator.manual_seed(self.inner.seed)
                for _ in range(self.epoch):
                    torch.randperm(self.inner.num_samples, generator=self.inner.generator)
        elif self.epoch:  # grouped by length: the first epoch's draw comes from the freshly seeded global generator
            self.inner.generator = torch.Generator().manual_seed(self.seed + self.epoch)
        return iter(self.inner)
