"""Plan: how much there is to do, by the trainer's own count: rows, tokens, lengths, steps, and about how long it takes here."""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import lru_cache, partial
from itertools import islice
from typing import Any

from app.data import files
from app.engine.cooperative import Clock, listen, stretches
from app.engine.datasets.row_filter import cut_at, left
from app.engine.job import Job
from app.engine.preview import findings, time_estimate, trainer_capture
from app.engine.preview.row_preview import job_of
from app.engine.run_manifest import tokens_of
from app.engine.tokens.tokenized_examples import UNLEARNED, measured, positions
from app.setup.spec import read

BARS = 24  # of the histogram, at most
LOOKED_AT = 50  # batches whose size stands for all
GONE = {"truncated": "cut", "empty": "untrained"}  # what is not there where a person said to drop it
UNCOUNTED = ("title", "prompts")  # of a Spec: they change nothing here


def check_setup(request: dict[str, Any]) -> None:
    """Nothing is known of it without looking."""


def plan(request: dict[str, Any]) -> dict[str, Any]:
    """All of it at once."""
    *_, last = parts(request)
    return last["done"]


def parts(request: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """{"progress": {"what", "done", "total", "seconds_left"}} as it goes, and last {"done": {"rows", "held_out", "tokens": {"all",
    "trained"}, "steps", "effective_batch", "lengths", "truncated", "empty", "left_out": {reason: count}, "seconds",
    "seconds_why"}}. What cannot be known ahead is None."""
    listen()
    clock = Clock()
    setup = json.dumps({key: value for key, value in request["spec"].items() if key not in UNCOUNTED}, sort_keys=True)
    for part in stretches(partial(count, setup, stamps(request))):
        if "value" in part:
            counted, work = part["value"]
            seconds, why = time_estimate.seconds(work, setup, stamps(request))
            yield {"done": counted | {"seconds": seconds, "seconds_why": why}}
        else:
            yield {"progress": clock.told(part)}


def stamps(request: dict[str, Any]) -> tuple[tuple[int, int], ...]:
    """Of the files: other examples under the same name are counted anew."""
    found = files.files_of(read(request["spec"])).values()
    return tuple((file.stat().st_mtime_ns, file.stat().st_size) for file in found)


@lru_cache(maxsize=4)  # each keeps its prepared rows
def count(setup: str, _stamps: Any) -> tuple[dict[str, Any], time_estimate.Work]:
    job = job_of({"spec": json.loads(setup)}, None)
    trainer = built(job)
    learned, loader = tokens_of(trainer.train_dataset, job.streaming), trainer.get_train_dataloader()
    counted = {
        "rows": None if job.streaming else left(job),
        "held_out": len(job.data.holdout),
        "tokens": learned,
        "left_out": dict(job.data.dropped) | findings.filtered(job, trainer),
    } | steps_of(trainer, loader)
    counted |= lengths(trainer, cut_at(job)) | {what: 0 for what, drop in GONE.items() if drop in job.spec.drop}
    answer = learned["trained"] / max(1, len(job.data.train)) if learned else None
    return counted, time_estimate.Work(job, counted["steps"], step_tokens(trainer, loader), answer)


def built(job: Job) -> Any:
    """The trainer without weights, its rows prepared or as they were kept."""
    job.preview, job.shape = True, trainer_capture.weightless
    return job.method.build(job)


def texts(trainer: Any) -> Any:
    """The table of its rows before any is cut off or packed, where it cuts them ahead of its batches."""
    return trainer.train_dataset if trainer.whole is None else trainer.whole


def steps_of(trainer: Any, loader: Any) -> dict[str, int]:
    *_, steps = trainer.set_initial_training_values(trainer.args, loader)
    return {
        "steps": steps,
        "effective_batch": trainer.args.per_device_train_batch_size * trainer.args.gradient_accumulation_steps,
    }


def lengths(trainer: Any, limit: int | None) -> dict[str, Any]:
    """The lengths of texts before anything is cut off, and what the cut costs; None where rows are prepared later."""
    import numpy

    table = texts(trainer)
    counted = measured(table) if hasattr(table, "data") else None
    if counted is None or not len(counted[0]):
        return {"lengths": None, "truncated": None, "empty": None}
    long, _ = counted
    edges = edges_for(int(long.max()))
    return {
        "lengths": {
            "edges": edges,
            "counts": numpy.histogram(long, edges)[0].tolist(),
            "limit": limit,
            "longest": int(long.max()),
            "median": float(numpy.median(long)),
        },
        "truncated": 0 if limit is None else int((long > limit).sum()),
        "empty": empty(table, counted, limit),
    }


def empty(table: Any, counted: tuple[Any, Any], limit: int | None) -> int:
    """Texts of which nothing that is learned stands within the limit."""
    import numpy

    long, learned = counted
    if "labels" not in table.column_names:  # what is learned stands at the end
        return 0 if limit is None else int((long - learned >= limit).sum())
    labels = table.data.column("labels").combine_chunks()
    offsets = labels.offsets.to_numpy()
    ends = offsets[1:] if limit is None else numpy.minimum(offsets[1:], offsets[:-1] + limit)
    so_far = numpy.concatenate([[0], numpy.cumsum(labels.values.to_numpy() != UNLEARNED)])
    return int((so_far[ends] == so_far[offsets[:-1]]).sum())


def edges_for(longest: int) -> list[int]:
    """Even steps of a round width: 1, 2 or 5 times a power of ten."""
    width = next(base * 10**power for power in range(9) for base in (1, 2, 5) if base * 10**power * BARS > longest)
    return list(range(0, longest + width + 1, width))


def step_tokens(trainer: Any, loader: Any) -> float | None:
    """Positions that one correction computes on average, padding too; None where the batches are written on the way."""
    from transformers import set_seed

    if trainer_capture.writes_itself(trainer):
        return None
    set_seed(trainer.args.seed)
    sizes = [positions(batch) for batch in islice(iter(loader), LOOKED_AT)]
    return sum(sizes) / len(sizes) * trainer.args.gradient_accumulation_steps
