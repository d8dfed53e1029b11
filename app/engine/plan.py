"""Plan: how much there is to do, by the trainer's own count: rows, tokens, lengths, steps, and about how long it takes here."""

from __future__ import annotations

import json
from functools import lru_cache
from itertools import islice
from typing import Any

from app import files
from app.engine import captured, check, pace
from app.engine.facts import tokens_of
from app.engine.job import Job
from app.engine.looks import job_of
from app.engine.prepared import UNLEARNED, measured, positions
from app.spec import read

BARS = 24  # of the histogram, at most
LOOKED_AT = 50  # batches whose size stands for all
UNCOUNTED = ("title", "prompts")  # of a Spec: they change nothing here


def plan(request: dict[str, Any]) -> dict[str, Any]:
    """{"rows", "held_out", "tokens": {"all", "trained"}, "steps", "effective_batch", "lengths", "truncated", "empty",
    "left_out": {reason: count}, "seconds", "seconds_why"}. What cannot be known ahead is None."""
    setup = json.dumps({key: value for key, value in request["spec"].items() if key not in UNCOUNTED}, sort_keys=True)
    counted, work = count(setup, stamps(request))
    seconds, why = pace.seconds(work, setup, stamps(request))
    return counted | {"seconds": seconds, "seconds_why": why}


def stamps(request: dict[str, Any]) -> tuple[tuple[int, int], ...]:
    """Of the files: other examples under the same name are counted anew."""
    found = files.files_of(read(request["spec"])).values()
    return tuple((file.stat().st_mtime_ns, file.stat().st_size) for file in found)


@lru_cache(maxsize=4)  # each keeps its prepared rows
def count(setup: str, _stamps: Any) -> tuple[dict[str, Any], pace.Work]:
    job = job_of({"spec": json.loads(setup)}, None)
    job.preview, job.shape = True, captured.weightless
    trainer = job.method.build(job)
    *_, steps = trainer.set_initial_training_values(trainer.args, trainer.get_train_dataloader())
    learned = tokens_of(trainer.train_dataset, job.streaming)
    counted = {
        "rows": None if job.streaming else len(job.data.train),
        "held_out": len(job.data.holdout),
        "tokens": learned,
        "steps": steps,
        "effective_batch": trainer.args.per_device_train_batch_size * trainer.args.gradient_accumulation_steps,
        "left_out": dict(job.data.dropped) | check.filtered(job, trainer),
    }
    counted |= lengths(trainer, cut_at(job))
    answer = learned["trained"] / max(1, len(job.data.train)) if learned else None
    return counted, pace.Work(job, steps, step_tokens(trainer), answer)


def cut_at(job: Job) -> int | None:
    """The length at which an example loses its end; None where it is split or chopped without loss."""
    cuts = not getattr(job.knobs, "packing", False) or captured.packs_whole(job)
    return getattr(job.knobs, "max_length", None) if cuts else None


def lengths(trainer: Any, limit: int | None) -> dict[str, Any]:
    """The lengths of texts before anything is cut off, and what the cut costs; None where rows are prepared later."""
    import numpy

    table = trainer.train_dataset if trainer.whole is None else trainer.whole
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


def step_tokens(trainer: Any) -> float | None:
    """Positions that one correction computes on average, padding too; None where the batches are written on the way."""
    from transformers import set_seed

    if captured.writes_itself(trainer):
        return None
    set_seed(trainer.args.seed)
    sizes = [positions(batch) for batch in islice(iter(trainer.get_train_dataloader()), LOOKED_AT)]
    return sum(sizes) / len(sizes) * trainer.args.gradient_accumulation_steps
