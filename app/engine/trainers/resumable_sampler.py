"""Samplers whose order depends on seed and epoch alone, so that a run resumed in a later epoch sees the same rows.

The libraries' samplers for grouping by length and for repeating prompts draw each epoch's order from a random generator
that keeps its state since the start of the run. A resumed process does not know that state; its losses differed from an
undisturbed run's from the second epoch on, which tests/bench/faults.py found.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from app.engine.trainers.mixin_bases import TrainerBase

if TYPE_CHECKING:
    from datasets import Dataset
    from torch.utils.data import Sampler

    _SamplerBase = Sampler[int]
else:
    _SamplerBase = object  # torch is imported only where a trainer is built


class ResumableSamplerMixin(TrainerBase):
    """Uses such samplers. The order is TRL's in the first epoch, and for repeated prompts in all epochs."""

    # positional, as some trainers call the parameter train_dataset
    def _get_train_sampler(self, dataset: Dataset | None = None, /) -> Sampler[int] | None:
        from torch.utils.data import RandomSampler, SequentialSampler

        if self.args.train_sampling_strategy == "group_by_length":
            dataset = _rows_with_lengths_only(self.train_dataset if dataset is None else dataset)
        sampler = super()._get_train_sampler(dataset)
        if sampler is None or isinstance(sampler, RandomSampler | SequentialSampler):
            return sampler  # accelerate seeds these by epoch
        return _EpochSeededSampler(sampler, self.args.seed)

    def _run_epoch(self, **kwargs: Any) -> None:  # type: ignore[override]  # called with keywords only
        """Does nothing after the last step: resumed in mid-epoch from its last checkpoint, the loop would run one step too many."""
        if self.state.global_step < self.state.max_steps:
            super()._run_epoch(**kwargs)


def _rows_with_lengths_only(dataset: Dataset) -> Dataset | list[dict[str, range]]:
    """Rows that have only the right length, for a sampler that groups by length: otherwise it reads every row to count its tokens."""
    from datasets import Dataset
    from pyarrow import compute

    if not isinstance(dataset, Dataset) or not len(dataset) or "input_ids" not in dataset.column_names:
        return dataset
    token_ids = dataset.select_columns("input_ids").with_format("arrow")[:]["input_ids"]
    return [{"input_ids": range(length)} for length in compute.list_value_length(token_ids).to_pylist()]


class _EpochSeededSampler(_SamplerBase):
    """A sampler whose order follows from (seed, epoch). The training loop calls `set_epoch` before each epoch."""

    def __init__(self, sampler: Sampler[int], seed: int):
        self.sampler, self.seed, self.epoch = sampler, seed, 0

    def __len__(self) -> int:
        return len(self.sampler)  # type: ignore[arg-type]  # all samplers of TRL and transformers have a length

    def set_epoch(self, epoch: int) -> None:
        self.epoch = epoch

    def __iter__(self) -> Iterator[int]:
        import torch
        from transformers.trainer_pt_utils import LengthGroupedSampler
        from trl.trainer.utils import RepeatSampler

        if isinstance(self.sampler, RepeatSampler) and self.sampler.shuffle:  # the order is its generator's n-th draw
            self.sampler.generator.manual_seed(self.sampler.seed or 0)
            for _ in range(self.epoch):
                torch.randperm(self.sampler.num_samples, generator=self.sampler.generator)
        elif isinstance(self.sampler, LengthGroupedSampler) and self.epoch:
            # the first epoch's order is drawn from the global generator, which was just seeded
            self.sampler.generator = torch.Generator().manual_seed(self.seed + self.epoch)
        return iter(self.sampler)
