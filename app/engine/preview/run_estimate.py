"""Run estimate: rows, tokens, lengths and steps by the trainer's own count, and about how long they take."""

from __future__ import annotations

import json
from collections.abc import Generator
from functools import lru_cache, partial
from itertools import islice
from typing import TYPE_CHECKING, TypedDict

from app.engine.cooperative import ProgressPart, run_with_progress
from app.engine.datasets.row_filter import count_trained_rows, truncation_length
from app.engine.job import Job
from app.engine.preview import findings, memory_plan, time_estimate, trainer_capture
from app.engine.preview.preview_job import Stamps, preview_job, source_stamps
from app.engine.preview.row_lengths import learned_within, row_lengths
from app.engine.run_manifest import TokenTotals, count_dataset_tokens
from app.engine.tokens.tokenized_examples import count_positions, token_counts
from app.planning.duration import DurationRange
from app.setup.spec import Spec, parse_spec

if TYPE_CHECKING:
    from datasets import Dataset
    from torch import Tensor
    from torch.utils.data import DataLoader

    from app.engine.contracts import Trainer

_MAX_HISTOGRAM_BARS = 24
_SAMPLED_BATCHES = 50  # batches whose size stands for all
_IRRELEVANT_SPEC_FIELDS = ("title", "prompts")  # they change nothing here


class StepCounts(TypedDict):
    """steps: of the whole training. effective_batch: rows that one step averages over."""

    steps: int
    effective_batch: int


class LengthHistogram(TypedDict):
    """Lengths of texts in tokens before truncation. edges: of the bars, one more than counts. limit: the maximum
    length, None where nothing is truncated."""

    edges: list[int]
    counts: list[int]
    limit: int | None
    longest: int
    median: float


class LengthStatistics(TypedDict):
    """truncated, empty: texts that lose their end, or everything trained, to the limit. All None where rows are
    prepared during training."""

    lengths: LengthHistogram | None
    truncated: int | None
    empty: int | None


class RunCounts(StepCounts, LengthStatistics):
    """What of an estimate is counted; None for what cannot be known ahead. eval_sets: {name: rows}. left_out: {reason:
    rows}."""

    rows: int | None
    held_out: int
    eval_sets: dict[str, int]
    tokens: TokenTotals | None
    left_out: dict[str, int]


class RunEstimate(RunCounts, memory_plan.MemoryPlan, time_estimate.TimeEstimate):
    """What a run would do, what it holds in memory, and about how long it takes. seconds_range: by arithmetic, where no step
    can be tried."""

    seconds_range: DurationRange | None


def estimate_run(spec: Spec) -> Generator[ProgressPart, None, RunEstimate]:
    """Yields its progress and returns the estimate."""
    spec_json, stamps = relevant_json(spec), source_stamps(spec)
    counts, workload = yield from run_with_progress(partial(count_run, spec_json, stamps))
    memory = memory_plan.plan_memory(workload.job, workload.row_lengths)
    seconds = time_estimate.estimate_time(workload, spec_json, stamps)
    return {**counts, **memory, **seconds, "seconds_range": _seconds_range(workload, seconds)}


def _seconds_range(workload: time_estimate.Workload, measured: time_estimate.TimeEstimate) -> DurationRange | None:
    if measured["seconds"] is not None:
        return None
    return memory_plan.plan_duration(workload.job, workload.row_lengths, workload.steps, workload.step_tokens)


def relevant_json(spec: Spec) -> str:
    """What of a Spec an estimate depends on, as a key of caches."""
    relevant = {key: field for key, field in spec.to_dict().items() if key not in _IRRELEVANT_SPEC_FIELDS}
    return json.dumps(relevant, sort_keys=True)


@lru_cache(maxsize=4)  # each entry keeps its prepared rows
def count_run(spec_json: str, _stamps: Stamps) -> tuple[RunCounts, time_estimate.Workload]:
    """(all of an estimate that is counted, what the time is estimated from). _stamps: of the data files, for the
    cache."""
    job = preview_job(parse_spec(json.loads(spec_json)), None)
    trainer = build_weightless_trainer(job)
    tokens, loader = count_dataset_tokens(trainer.train_dataset, job.streaming), trainer.get_train_dataloader()
    left_out_by_trainer = findings.rows_left_out_by_trainer(job, trainer)
    counts: RunCounts = {
        # With those that are held out and left out, these are all rows of the data.
        "rows": None if job.streaming else count_trained_rows(job) - sum(left_out_by_trainer.values()),
        "held_out": len(job.data.holdout),
        "eval_sets": {name: len(rows) for name, rows in job.data.eval_sets.items()},
        "tokens": tokens,
        "left_out": dict(job.data.dropped) | left_out_by_trainer,
        **count_steps(trainer, loader),
        **_length_statistics(trainer, truncation_length(job)),
    }
    if "cut" in job.spec.drop:
        counts["truncated"] = 0
    if "untrained" in job.spec.drop:
        counts["empty"] = 0
    completion_tokens = tokens["trained"] / max(1, len(job.data.train)) if tokens else None
    step_tokens, lengths = _tokens_per_step(trainer, loader), row_lengths(job, untruncated_table(trainer))
    return counts, time_estimate.Workload(job, counts["steps"], step_tokens, completion_tokens, lengths)


def build_weightless_trainer(job: Job) -> Trainer:
    """The trainer on a model without weights, its rows prepared or taken from the cache of prepared rows."""
    job.preview, job.wrap_trainer = True, trainer_capture.without_weights
    return job.method.build(job)


def untruncated_table(trainer: Trainer) -> Dataset:
    """The table of the trainer's rows before any is truncated or packed, where that happens before the batches."""
    return trainer.train_dataset if trainer.uncut_rows is None else trainer.uncut_rows


def count_steps(trainer: Trainer, loader: DataLoader[dict[str, Tensor]]) -> StepCounts:
    """The steps of the whole training by the trainer's own count."""
    *_, steps = trainer.set_initial_training_values(trainer.args, loader)
    return {
        "steps": steps,
        "effective_batch": trainer.args.per_device_train_batch_size * trainer.args.gradient_accumulation_steps,
    }


def _length_statistics(trainer: Trainer, limit: int | None) -> LengthStatistics:
    """The lengths of texts before truncation, and what truncation costs; None where rows are prepared during training.

    limit: the maximum length in tokens.
    """
    import numpy

    table = untruncated_table(trainer)
    counts = token_counts(table) if hasattr(table, "data") else None
    if counts is None or not len(counts[0]):
        return {"lengths": None, "truncated": None, "empty": None}
    lengths, _ = counts
    edges = _histogram_edges(int(lengths.max()))
    return {
        "lengths": {
            "edges": edges,
            "counts": numpy.histogram(lengths, edges)[0].tolist(),
            "limit": limit,
            "longest": int(lengths.max()),
            "median": float(numpy.median(lengths)),
        },
        "truncated": 0 if limit is None else int((lengths > limit).sum()),
        "empty": int((learned_within(table, counts, limit) <= 0).sum()),
    }


def _histogram_edges(longest: int) -> list[int]:
    """Even steps of a round width: 1, 2 or 5 times a power of ten."""
    widths = (base * 10**power for power in range(9) for base in (1, 2, 5))
    width = next(width for width in widths if width * _MAX_HISTOGRAM_BARS > longest)
    return list(range(0, longest + width + 1, width))


def _tokens_per_step(trainer: Trainer, loader: DataLoader[dict[str, Tensor]]) -> float | None:
    """Positions that an average step computes, padding included; None where the completions are generated during
    training."""
    from transformers import set_seed

    if trainer_capture.generates_completions(trainer):
        return None
    set_seed(trainer.args.seed)
    sizes = [count_positions(batch) for batch in islice(iter(loader), _SAMPLED_BATCHES)]
    return sum(sizes) / len(sizes) * trainer.args.gradient_accumulation_steps
