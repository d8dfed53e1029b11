"""Auditing: every check of app/engine/audit/ over all rows, as the trainer prepared them; what it found is kept and shown again at once."""

from __future__ import annotations

import functools
import hashlib
import json
import time
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

from app.core import cache
from app.data import files
from app.engine.audit.base import Finding, Look, Read
from app.engine.cooperative import Clock, breathe, listen, stretches
from app.engine.datasets import prepared_cache, row_filter
from app.engine.datasets.token_columns import PIECE, pieces
from app.engine.job import Job
from app.engine.model import tokenizer
from app.engine.preview import packing_stats, run_estimate
from app.engine.preview.row_preview import job_of
from app.engine.tokens.secrets import covered
from app.setup.spec import Spec, read

ROOM, MOST = "audits", 200  # what was found in the last so many
# Of a setup: what changes nothing that is found here.
UNCOUNTED = ("title", "prompts", "adapter")
UNMATTERING = ("learning_rate", "optimizer", "schedule", "warmup", "floor", "decay", "weight_decay", "max_grad_norm", "evaluations",
               "eval_answers", "eval_length", "saves", "save_minutes", "precision", "checkpointing", "neftune", "streaming")  # fmt: skip
SHOWN, LETTERS = 5, 400  # rows of a finding that are shown, and letters of each
MOST_LENGTHS = 2_000  # different lengths told; with more of them several become one
ORDER = {"wrong": 0, "careful": 1, "good": 2}


def checks() -> list[str]:
    """A check exists because its file does."""
    return sorted(
        path.stem for path in (Path(__file__).parent / "checks").glob("*.py") if not path.stem.startswith("_")
    )


# -- what was found before ----------------------------------------------------------------------------------------


def known(request: dict[str, Any]) -> dict[str, Any] | None:
    """The result when these very rows were looked at with these settings before."""
    key = key_of(read(request["spec"]))
    found = key and cache.get(ROOM, key)
    return found | {"again": True} if found else None


def key_of(spec: Spec) -> str | None:
    """By what is in the files; None for data on the Hub that is not pinned to one revision."""
    if any(one.source.startswith("hub:") and not one.revision for one in spec.sources):
        return None
    setup = {name: value for name, value in spec.to_dict().items() if name not in UNCOUNTED}
    setup["knobs"] = {name: value for name, value in spec.knobs.items() if name not in UNMATTERING}
    held = {name: content(str(path), *stamp(path)) for name, path in files.files_of(spec).items()}
    told = [
        setup,
        held,
        prepared_cache.words(tokenizer.tokenizer_of(spec.model)),
        prepared_cache.libraries(),
        cache.CODE,
    ]
    return hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()[:40]


def stamp(path: Path) -> tuple[int, int]:
    return path.stat().st_mtime_ns, path.stat().st_size


@functools.lru_cache(maxsize=256)
def content(path: str, _time: int, _size: int) -> str:
    return files.fingerprint(Path(path))


def remember(spec: Spec, result: dict[str, Any]) -> None:
    key = key_of(spec)
    if key:
        cache.put(ROOM, key, result)
        cache.keep_newest(ROOM, MOST)


# -- looking ------------------------------------------------------------------------------------------------------


def audit(request: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """{"progress": {"what", "done", "total", "seconds_left"}} as it goes, and last {"done": result}; shapes: app/engine/audit/."""
    listen()
    clock, spec = Clock(), read(request["spec"])
    for part in stretches(functools.partial(looked, request)):
        if "value" in part:
            result = part["value"] | {"seconds": round(time.monotonic() - clock.began, 1)}
            remember(spec, result)
            yield {"done": result | {"again": False}}
        else:
            yield {"progress": clock.told(part)}


def looked(request: dict[str, Any]) -> dict[str, Any]:
    job = job_of(finite(request), None)
    trainer = run_estimate.built(job)
    table = run_estimate.texts(trainer)
    looks = {name: check(name)(job, table) for name in checks()}
    look_at_rows(job, [*looks.values()])
    for piece, part in zip(pieces(table), slices(table), strict=False):
        breathe("Looking at tokens", piece[0].first, len(table))
        for look in looks.values():
            look.tokens(piece, part)
    return result(job, trainer, looks)


def finite(request: dict[str, Any]) -> dict[str, Any]:
    """All rows once, also where training would read them without an end."""
    knobs = request["spec"].get("knobs") or {}
    return request | {"spec": request["spec"] | {"knobs": {name: value for name, value in knobs.items() if name != "streaming"}}}  # fmt: skip


@functools.cache
def check(name: str) -> type[Look]:
    return import_module(f"app.engine.audit.checks.{name}").Check


def slices(table: Any) -> Iterator[Any]:
    data = (table if table._indices is None else table.flatten_indices()).data
    return (data.slice(first, PIECE) for first in range(0, len(table), PIECE))


def look_at_rows(job: Job, looks: list[Look]) -> None:
    """Those held out first, so that others can be known again."""
    spared = {"images"} | ({"chat_template_kwargs"} if job.template_arguments else set())
    for number, row in enumerate(job.data.holdout, 1):
        told = Read(number, {name: value for name, value in row.items() if name not in spared})
        for look in looks:
            look.aside(told)
    for number, row in enumerate(plain_rows(job.data.train, spared), 1):
        breathe("Looking at words", number, len(job.data.train))
        told = Read(number, row)
        for look in looks:
            look.row(told)


def plain_rows(table: Any, spared: set[str], which: Any = None) -> Iterator[dict[str, Any]]:
    """Rows as Python has them, without pictures, and without columns that a table has of other rows."""
    table = table.remove_columns([name for name in table.column_names if name in spared])
    table = table if which is None else table.select(which)
    for batch in table.iter(batch_size=1_000):
        for values in zip(*batch.values(), strict=True):
            yield {name: value for name, value in zip(batch, values, strict=True) if value is not None}


# -- the result ---------------------------------------------------------------------------------------------------


def result(job: Job, trainer: Any, looks: dict[str, Look]) -> dict[str, Any]:
    cost, dear = packing_stats.of(job, trainer, looks["lengths"].lengths)
    found = [one for look in looks.values() for one in look.findings()] + dear
    found.sort(key=lambda one: (ORDER[one["severity"]], -one["count"]))
    learned = looks["trained_share"]
    return {
        "rows": row_filter.left(job),
        "held_out": len(job.data.holdout),
        "dropped": [
            {"reason": reason, "count": count, "rows": job.data.left_out.get(reason, [])}
            for reason, count in job.data.dropped.items()
        ],
        "tokens": {"all": learned.all, "trained": learned.learned} if learned.all else None,
        "counts": counts(found, looks["trained_share"].none.count if learned.all else None),
        "lengths": lengths(job, looks["lengths"]),
        "cost": cost,
        "findings": found,
        "examples": shown(job, found),
    }


def counts(found: list[Finding], untrained: int | None) -> dict[str, int | None]:
    """What the page counts in any case, also when it is nothing."""
    names = (
        "cut",
        "lost_end",
        "end_untrained",
        "no_end",
        "double_begin",
        "empty_turn",
        "alternation",
        "duplicates",
        "held_out",
    )
    return {name: next((one["count"] for one in found if one["id"] == name), 0) for name in names} | {"untrained": untrained}  # fmt: skip


def lengths(job: Job, look: Any) -> dict[str, Any] | None:
    """How many rows have each length, and how many need so many tokens for anything to be learned: any cut can be counted from it."""
    import numpy

    if not len(look.lengths):
        return None
    width = 1
    while len(numpy.unique(-(-look.lengths // width))) > MOST_LENGTHS:
        width *= 2

    def counted(values: Any) -> list[list[int]]:
        found, count = numpy.unique(-(-values // width) * width, return_counts=True)
        return [[int(one), int(many)] for one, many in zip(found, count, strict=True)]

    return {
        "counts": counted(look.lengths), "needed": counted(look.begins), "width": width, "limit": look.limit,
        "maximum": getattr(job.knobs, "max_length", None), "longest": int(look.lengths.max()), "median": int(numpy.median(look.lengths)),
        "p99": int(numpy.percentile(look.lengths, 99, method="inverted_cdf")), "total": int(look.lengths.sum()),
    }  # fmt: skip


def shown(job: Job, found: list[Finding]) -> dict[str, str]:
    """{number: how the row begins} of the first rows of each finding, secrets hidden. Of rows left out there is nothing to show."""
    numbers = sorted(
        {n for one in found if one["id"] not in ("left_out", "unreadable_rows") for n in one["rows"][:SHOWN]}
    )
    numbers = [n for n in numbers if 0 < n <= len(job.data.train)]
    rows = plain_rows(job.data.train, {"images"}, [n - 1 for n in numbers]) if numbers else iter(())
    return {str(n): covered(Read(n, row).text[: 2 * LETTERS])[:LETTERS] for n, row in zip(numbers, rows, strict=True)}
