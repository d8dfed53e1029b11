"""Looks: the first examples and batches for the page, as the trainer prepares them, with what a person should know of them."""

from __future__ import annotations

import sys
from pathlib import Path
from tempfile import gettempdir
from typing import Any

from app import files
from app.engine import check, reasons, tokens
from app.engine.device import Device
from app.engine.job import Job
from app.problems import Problem
from app.resolve import resolve
from app.spec import Source, read

ALL_SHOWN = 200_000  # tokens of one answer to the page
LEAST = 1_000  # of a row when the others have used that up
SMALL_FILE = 2_000_000  # bytes; counted by reading it


def job_of(request: dict[str, Any], rows: int | None) -> Job:
    return Job(resolve(read(request["spec"])), Path(gettempdir()), Device("cpu"), rows=rows)


def look_at_rows(request: dict[str, Any]) -> dict[str, Any]:
    """The first rows as tokens with their reasons, at once; how many there are; and the findings on them."""
    job = job_of(request, request["rows"])
    trainer, parts = tokens.prepared(job)
    shown, left = [], ALL_SHOWN
    for part in parts:
        row = look_at(job, trainer, part, most=min(tokens.SHOWN, max(left, LEAST)))
        left -= len(row["tokens"])
        shown.append(row)
    unlearnable = 0 if trainer.whole is None or "row" not in trainer.train_dataset.column_names else len(trainer.whole) - len(trainer.train_dataset)  # fmt: skip
    return {"rows": shown, "of": count_of(job), "findings": check.findings(job, shown, unlearnable)}


def look_at(job: Job, trainer: Any, part: tokens.Part, most: int) -> dict[str, Any]:
    """One example, with what is cut off from it, and the reasons for its tokens."""
    tokenizer = trainer.processing_class
    ids, labels, raw, spans = part.ids, part.labels, {}, []
    if part.row is not None:
        raw = job.data.train[part.row]
        if trainer.whole is not None:
            whole = trainer.whole[part.row]
            ids, labels = whole["input_ids"], part.labels + [-100] * (len(whole["input_ids"]) - len(part.ids))
    row = tokens.row_tokens(tokenizer, ids, labels, len(ids) - len(part.ids), most)
    if raw:
        text = "".join(
            tokens.pieces(tokenizer, ids) if len(ids) > len(row["tokens"]) else (one["text"] for one in row["tokens"])
        )
        spans = reasons.spans_of(tokenizer, getattr(trainer, "chat_template", None), raw, text)
    elif not job.streaming and "text" in job.data.train.column_names:
        spans = [(0, sys.maxsize, "text")]  # joined texts: whichever row it was, it was text
    return row | {"segments": reasons.segments(tokenizer, row, labels, spans)}


def look_at_batches(request: dict[str, Any]) -> dict[str, Any]:
    """The first batches over the whole data, prepared, packed and collated; no more than a page can show."""
    job = job_of(request, None)
    if getattr(job.method, "NEEDS_REWARDS", False):
        raise Problem("This method writes its own answers, so there are no batches to show before it starts.")
    found, shown, left = tokens.batches(job, request["batches"]), [], ALL_SHOWN
    for batch in found:
        left -= batch["input_ids"].numel()
        if shown and left < 0:
            break
        shown.append(tokens.shown_batch(job.tokenizer, batch))
    return {"batches": shown, "left_out": len(found) - len(shown)}


def count_of(job: Job) -> int | None:
    """How many examples the sources hold, where that is quickly known."""
    counts = [count_in(source) for source in job.spec.data]
    return None if None in counts else sum(counts)


def count_in(source: Source) -> int | None:
    path = files.file_of(source)
    if path is None:
        return None
    kind = path.suffix.lower()
    if kind == ".parquet":
        import pyarrow.parquet

        count = pyarrow.parquet.ParquetFile(path).metadata.num_rows
    elif kind in (".jsonl", ".ndjson"):
        with path.open("rb") as file:
            count = sum(not line.isspace() for line in file)
    elif path.stat().st_size < SMALL_FILE:
        count = sum(1 for _ in files.read(path))
    else:
        return None
    return min(count, source.limit or count)
