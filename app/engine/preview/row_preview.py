"""Looks: the first examples and batches for the page, as the trainer prepares them, with what a person should know of them."""

from __future__ import annotations

import copy
import json
import sys
from functools import lru_cache
from pathlib import Path
from tempfile import gettempdir
from typing import Any

from app.core.problems import Problem
from app.data import files
from app.engine.datasets.load import Data
from app.engine.job import Job
from app.engine.model import template_source
from app.engine.model.device import Device
from app.engine.preview import findings, trainer_capture
from app.engine.tokens import decode, document_boundaries, reasons
from app.engine.tokens.tokenized_examples import UNLEARNED, Example, Text, positions
from app.planning.resolve import resolve
from app.setup.spec import read

ALL_SHOWN = 200_000  # tokens of one answer to the page
LEAST = 1_000  # of a row when the others have used that up
BESIDE = 2_000  # letters of a column beside a prompt


def job_of(request: dict[str, Any], rows: int | None) -> Job:
    return Job(resolve(read(request["spec"])), Path(gettempdir()), Device("cpu"), rows=rows)


def look_at_rows(request: dict[str, Any]) -> dict[str, Any]:
    """The first rows as tokens with their reasons, at once; how many there are; and the findings on them. With "numbers", as the
    audit counts, those rows."""
    numbers = request.get("numbers") or []
    job = numbered(request, numbers) if numbers else job_of(request, request["rows"])
    with template_source.guarded(job.spec.model.template):
        trainer, found = trainer_capture.prepared(job)
    shown, left = [], ALL_SHOWN
    for example in found:
        row = look_at(job, trainer, example, most=min(decode.SHOWN, max(left, LEAST))) | beside(job, example.raw)
        row |= {"left_out": example.why} if example.why else {}
        place = example.raw.get("row") if example.row is None else example.row
        row |= {"number": numbers[place]} if numbers and place is not None else {}
        left -= sum(len(part["tokens"]) for part in (row, *row.get("sides", [])))
        shown.append(row)
    found = findings.findings(job, trainer, shown, joined(job, trainer))
    return {"rows": shown, "of": count_of(job), "joined": joined(job, trainer), "findings": found}


def numbered(request: dict[str, Any], numbers: list[int]) -> Job:
    """A job on those rows alone, by their numbers among all that are learned from. Raises Problem."""
    from app.engine.preview.run_estimate import stamps

    job = job_of(request, None)
    if job.streaming:
        raise Problem("Rows that are read while training have no numbers.", advice="Look at the first ones.")
    job.data = copy.copy(all_of(json.dumps(request["spec"], sort_keys=True), stamps(request)))
    beyond = next((one for one in numbers if not 1 <= one <= len(job.data.train)), None)
    if beyond is not None:
        raise Problem(
            f"There is no example {beyond}: {len(job.data.train)} are learned from.", advice="Choose one of them."
        )
    job.data.train, job.rows = job.data.train.select([one - 1 for one in numbers]), len(numbers)
    return job


@lru_cache(maxsize=1)  # one look after another asks for rows of the same file
def all_of(setup: str, _stamps: Any) -> Data:
    return job_of({"spec": json.loads(setup)}, None).data


def beside(job: Job, raw: dict[str, Any]) -> dict[str, Any]:
    """{"beside": {column: text}}: what rewards see of a row beside its prompt; nothing where nothing is rewarded."""
    if not getattr(job.method, "NEEDS_REWARDS", False):
        return {}
    told = {name: value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)
            for name, value in raw.items() if name not in ("prompt", "chat_template_kwargs") and value is not None}  # fmt: skip
    return {"beside": {name: text if len(text) <= BESIDE else f"{text[:BESIDE]} …" for name, text in told.items()}}


def joined(job: Job, trainer: Any) -> bool:
    """Texts stand end to end and are cut anywhere: what is shown as a row is no example of the file."""
    return not job.streaming and findings.packed(trainer) and not trainer_capture.packs_whole(job)


def look_at(job: Job, trainer: Any, example: Example, most: int) -> dict[str, Any]:
    """One example with the reasons for its tokens: a text, or the prompt with an answer or more in "sides"."""
    if len(example.texts) == 1 and not example.texts[0].name:
        row = look_at_text(job, trainer, *whole_of(job, trainer, example), most=most)
        for place in example.begins:
            if place < len(row["tokens"]):
                row["tokens"][place]["begins"] = True
        return row
    limit = getattr(job.knobs, "max_length", None)
    raw = example.raw if example.row is None else job.data.train[example.row]
    sides = [
        look_at_text(
            job,
            trainer,
            text,
            max(0, len(text.ids) - (limit or len(text.ids))),
            raw_side(raw, text.name),
            most=most,
        )
        for text in example.texts
    ]
    return parted(sides, example)


def whole_of(job: Job, trainer: Any, example: Example) -> tuple[Text, int, dict[str, Any]]:
    """The text with what is cut off from it, how much that is, and its row."""
    text = example.texts[0]
    raw = example.raw or (job.data.train[example.row] if example.row is not None else {})
    if example.why or example.row is None or trainer.whole is None:
        return text, example.cut, raw
    ids = trainer.whole[example.row]["input_ids"]
    cut = len(ids) - len(text.ids)
    return Text(ids, text.labels + [UNLEARNED] * cut), cut, raw


def raw_side(raw: dict[str, Any], name: str) -> dict[str, Any]:
    """A row with one answer of several, as a prompt and its completion."""
    column = "completion" if name in ("liked", "disliked") else name
    kept = {key: raw[key] for key in ("tools", "chat_template_kwargs", "prompt") if key in raw}
    return kept | {"completion": without(raw.get("prompt"), raw.get(column))}


def without(prompt: Any, answer: Any) -> Any:
    """The answer alone: where it is scored, TRL has put the prompt before it."""
    repeats = type(prompt) is type(answer) and prompt and answer[: len(prompt)] == prompt
    return answer[len(prompt) :] if repeats else answer


def parted(sides: list[dict[str, Any]], example: Example) -> dict[str, Any]:
    """The shared prompt once, and each answer by its name."""
    shared = example.shared
    answers = [
        {
            "name": text.name,
            "tokens": side["tokens"][shared:],
            "length": max(0, side["length"] - shared),
            "cut": side["cut"],
            "segments": shifted(side["segments"], shared),
        }
        for side, text in zip(sides, example.texts, strict=True)
    ]
    first = sides[0]
    kept = [one | {"end": min(one["end"], shared)} for one in first["segments"] if one["start"] < shared]
    return {"tokens": first["tokens"][:shared], "length": shared, "cut": 0, "segments": kept, "sides": answers}


def shifted(segments: list[dict[str, Any]], by: int) -> list[dict[str, Any]]:
    return [one | {"start": max(0, one["start"] - by), "end": one["end"] - by} for one in segments if one["end"] > by]


def look_at_text(job: Job, trainer: Any, text: Text, cut: int, raw: dict[str, Any], most: int) -> dict[str, Any]:
    taken, spans = trainer.processing_class, []
    tokenizer = getattr(taken, "tokenizer", taken)  # of a processor, which also holds an eye
    row = decode.row_tokens(tokenizer, text, cut, most)
    if raw:
        told = "".join(
            decode.pieces(tokenizer, text.ids)
            if len(text.ids) > len(row["tokens"])
            else (one["text"] for one in row["tokens"])
        )
        spans = reasons.spans_of(tokenizer, getattr(trainer, "chat_template", None) or taken.chat_template, raw, told)
    elif not job.streaming and "text" in job.data.train.column_names:
        spans = [(0, sys.maxsize, "text")]  # joined texts: whichever row it was, it was text
    told_why = reasons.segments(tokenizer, row, text, spans, reasons.verb(job.kind, text.name))
    return decode.with_pictures(row, text) | {"segments": told_why}


def look_at_batches(request: dict[str, Any]) -> dict[str, Any]:
    """The first batches over the whole data, prepared, packed and collated; no more than a page can show."""
    job = job_of(request, None)
    if findings.how_it_writes(job.method):
        raise Problem("This method writes its own answers, so there are no batches to show before it starts.")
    with template_source.guarded(job.spec.model.template):
        trainer, found = trainer_capture.loaded(job, request["batches"])
    shown, left = [], ALL_SHOWN
    for batch in found:
        left -= positions(batch)
        if shown and left < 0:
            break
        shown.append(decode.shown_batch(job, batch, document_boundaries.cuts_of(trainer, batch)))
    return {"batches": shown, "left_out": len(found) - len(shown)}


def count_of(job: Job) -> int | None:
    """How many examples the sources hold, where that is quickly known."""
    counts = [files.count_of(source) for source in job.spec.data]
    return None if None in counts else sum(counts)
