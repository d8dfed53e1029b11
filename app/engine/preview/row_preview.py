"""Row preview: the first examples and batches for the page, as the trainer prepares them, with findings on them."""

from __future__ import annotations

import copy
import json
import sys
from collections.abc import Sequence
from functools import lru_cache
from typing import TYPE_CHECKING

from app.core.problems import Problem
from app.data.fields import Row
from app.data.reading import files
from app.data.row_types import rendered_columns
from app.engine.datasets.load import LoadedData
from app.engine.job import Job
from app.engine.model import template_source
from app.engine.preview import findings, trainer_capture
from app.engine.preview.page_types import (
    BatchesPreview,
    PreviewedRow,
    PreviewedSide,
    PreviewedText,
    RowsPreview,
)
from app.engine.preview.preview_job import Stamps, preview_job, source_stamps
from app.engine.tokens import decode, document_boundaries, reasons
from app.engine.tokens.decode import DecodedBatch
from app.engine.tokens.reasons import Segment
from app.engine.tokens.tokenized_examples import IGNORE_INDEX, Example, TokenizedText, count_positions
from app.setup.spec import Spec, parse_spec

if TYPE_CHECKING:
    from app.data.conversations.messages import Messages
    from app.engine.contracts import Trainer

_MAX_RESPONSE_TOKENS = 200_000  # of all rows or batches in one response to the page
_MIN_ROW_TOKENS = 1_000  # of a row when the rows before have used that up
_MAX_COLUMN_CHARACTERS = 2_000  # of a column beside a prompt


# -- rows ---------------------------------------------------------------------------------------------------------


def preview_rows(spec: Spec, count: int, numbers: Sequence[int] = ()) -> RowsPreview:
    """The first `count` rows, or the rows with these numbers, as the audit counts them from 1. Raises Problem."""
    with template_source.template_time_limit(spec.model.template):
        job = _job_on_rows(spec, numbers) if numbers else preview_job(spec, count)
        trainer, examples = trainer_capture.prepare_examples(job)
    rows: list[PreviewedRow] = []
    budget = _MAX_RESPONSE_TOKENS
    for example in examples:
        max_tokens = min(decode.MAX_TOKENS, max(budget, _MIN_ROW_TOKENS))
        row = preview_example(job, trainer, example, max_tokens)
        if job.method.needs_rewards:
            row["beside"] = _reward_columns(example.raw_row)
        if example.left_out_reason:
            row["left_out"] = example.left_out_reason
        index = example.raw_row.get("row") if example.row_index is None else example.row_index
        if numbers and index is not None:
            row["number"] = numbers[index]
        budget -= len(row["tokens"]) + sum(len(side["tokens"]) for side in row.get("sides", []))
        rows.append(row)
    is_joined = _is_joined(job, trainer)
    row_findings = findings.preview_findings(job, trainer, rows, is_joined)
    return {"rows": rows, "of": _source_row_count(job), "joined": is_joined, "findings": row_findings}


def _job_on_rows(spec: Spec, numbers: Sequence[int]) -> Job:
    """A job on those rows alone, by their numbers among all that are trained on. Raises Problem."""
    job = preview_job(spec, None)
    if job.streaming:
        raise Problem("Rows that are read while training have no numbers.", advice="Look at the first ones.")
    job.data = copy.copy(_cached_data(json.dumps(spec.to_dict(), sort_keys=True), source_stamps(spec)))
    beyond = next((number for number in numbers if not 1 <= number <= len(job.data.train)), None)
    if beyond is not None:
        raise Problem(
            f"There is no example {beyond}: {len(job.data.train)} are learned from.", advice="Choose one of them."
        )
    job.data.train, job.max_rows = job.data.train.select([number - 1 for number in numbers]), len(numbers)
    return job


@lru_cache(maxsize=1)  # one preview after another wants rows of the same file
def _cached_data(spec_json: str, _stamps: Stamps) -> LoadedData:
    return preview_job(parse_spec(json.loads(spec_json)), None).data


def _reward_columns(raw_row: Row) -> dict[str, str]:
    """{column: text}: what rewards see of a row beside its prompt."""
    columns = {}
    for name, cell in raw_row.items():
        if name not in ("prompt", "chat_template_kwargs") and cell is not None:
            text = cell if isinstance(cell, str) else json.dumps(cell, ensure_ascii=False, default=str)
            columns[name] = text if len(text) <= _MAX_COLUMN_CHARACTERS else f"{text[:_MAX_COLUMN_CHARACTERS]} …"
    return columns


def _is_joined(job: Job, trainer: Trainer) -> bool:
    """Whether texts stand end to end and are cut anywhere, so that a row is no example of the file."""
    return not job.streaming and findings.is_packed(trainer) and not trainer_capture.packs_whole_documents(job)


def _source_row_count(job: Job) -> int | None:
    """How many examples the sources hold; None where that is not quickly known."""
    counts = [files.count_rows(source) for source in job.spec.data]
    known_counts = [count for count in counts if count is not None]
    return sum(known_counts) if len(known_counts) == len(counts) else None


# -- one example --------------------------------------------------------------------------------------------------


def preview_example(job: Job, trainer: Trainer, example: Example, max_tokens: int) -> PreviewedRow:
    """One example with the reasons for its tokens: a text, or the prompt with its completions in "sides".

    max_tokens: of each text.
    """
    if len(example.texts) == 1 and not example.texts[0].name:
        text, truncated_tokens, raw_row = _untruncated_text(job, trainer, example)
        raw_row = rendered_columns(raw_row, job.method.row_types)
        row: PreviewedRow = {**_preview_text(job, trainer, text, truncated_tokens, raw_row, max_tokens)}
        for position in example.document_starts:
            if position < len(row["tokens"]):
                row["tokens"][position]["begins"] = True
        return row
    limit = getattr(job.knobs, "max_length", None)
    raw_row = example.raw_row if example.row_index is None else job.data.train[example.row_index]
    sides = []
    for text in example.texts:
        truncated_tokens = max(0, len(text.token_ids) - limit) if limit else 0
        sides.append(_preview_text(job, trainer, text, truncated_tokens, _row_of_side(raw_row, text.name), max_tokens))
    return _split_sides(sides, example)


def _untruncated_text(job: Job, trainer: Trainer, example: Example) -> tuple[TokenizedText, int, Row]:
    """(the text with what is truncated from it, how many tokens that is, its row)."""
    text = example.texts[0]
    raw_row = example.raw_row or (job.data.train[example.row_index] if example.row_index is not None else {})
    if example.left_out_reason or example.row_index is None or trainer.uncut_rows is None:
        return text, example.truncated_tokens, raw_row
    token_ids = trainer.uncut_rows[example.row_index]["input_ids"]
    truncated_tokens = len(token_ids) - len(text.token_ids)
    labels = text.labels + [IGNORE_INDEX] * truncated_tokens
    return TokenizedText(token_ids, labels), truncated_tokens, raw_row


def _row_of_side(raw_row: Row, name: str) -> Row:
    """A row with one of its completions, as a prompt and its completion."""
    column = "completion" if name in ("liked", "disliked") else name
    prompt_columns = {key: raw_row[key] for key in ("tools", "chat_template_kwargs", "prompt") if key in raw_row}
    return prompt_columns | {"completion": _without_prompt(raw_row.get("prompt"), raw_row.get(column))}


def _without_prompt(prompt: str | Messages | None, completion: str | Messages | None) -> str | Messages | None:
    """The completion alone: where it is scored, TRL has put the prompt before it."""
    if prompt and completion and type(prompt) is type(completion) and completion[: len(prompt)] == prompt:
        return completion[len(prompt) :]
    return completion


def _split_sides(sides: list[PreviewedText], example: Example) -> PreviewedRow:
    """The shared prompt once, and each completion by its name."""
    shared = example.shared_tokens
    completions: list[PreviewedSide] = [
        {
            "name": text.name,
            "tokens": side["tokens"][shared:],
            "length": max(0, side["length"] - shared),
            "cut": side["cut"],
            "segments": _shift_segments(side["segments"], shared),
        }
        for side, text in zip(sides, example.texts, strict=True)
    ]
    first = sides[0]
    prompt_segments: list[Segment] = [
        {**segment, "end": min(segment["end"], shared)} for segment in first["segments"] if segment["start"] < shared
    ]
    return {
        "tokens": first["tokens"][:shared],
        "length": shared,
        "cut": 0,
        "segments": prompt_segments,
        "sides": completions,
    }


def _shift_segments(segments: list[Segment], offset: int) -> list[Segment]:
    """The segments behind the first `offset` tokens, counted from there."""
    return [
        {**segment, "start": max(0, segment["start"] - offset), "end": segment["end"] - offset}
        for segment in segments
        if segment["end"] > offset
    ]


def _preview_text(
    job: Job, trainer: Trainer, text: TokenizedText, truncated_tokens: int, raw_row: Row, max_tokens: int
) -> PreviewedText:
    processing_class, spans = trainer.processing_class, []
    tokenizer = getattr(processing_class, "tokenizer", processing_class)  # a processor also prepares images
    row = decode.decode_text(tokenizer, text, truncated_tokens, max_tokens)
    if raw_row:
        is_complete = len(text.token_ids) <= len(row["tokens"])
        decoded = [token["text"] for token in row["tokens"]]
        decoded_text = "".join(decoded if is_complete else decode.token_texts(tokenizer, text.token_ids))
        template = getattr(trainer, "chat_template", None) or processing_class.chat_template
        spans = reasons.text_spans(tokenizer, template, raw_row, decoded_text)
    elif not job.streaming and "text" in job.data.train.column_names:
        spans = [reasons.TextSpan(0, sys.maxsize, "text")]  # joined texts: whichever row it was, it was text
    phrase = reasons.learned_phrase(job.kind, text.name)
    segments = reasons.reason_segments(tokenizer.eos_token_id, row["tokens"], text, spans, phrase)
    return {**decode.label_image_tokens(row, text), "segments": segments}


# -- batches ------------------------------------------------------------------------------------------------------


def preview_batches(spec: Spec, count: int) -> BatchesPreview:
    """The first batches over all rows, packed and collated. Raises Problem."""
    job = preview_job(spec, None)
    if findings.generation_note(job.method):
        raise Problem("This method writes its own answers, so there are no batches to show before it starts.")
    with template_source.template_time_limit(job.spec.model.template):
        trainer, batches = trainer_capture.load_first_batches(job, count)
    decoded: list[DecodedBatch] = []
    budget = _MAX_RESPONSE_TOKENS
    for batch in batches:
        budget -= count_positions(batch)
        if decoded and budget < 0:
            break
        decoded.append(decode.decode_batch(job, batch, document_boundaries.batch_boundaries(trainer, batch)))
    return {"batches": decoded, "left_out": len(batches) - len(decoded)}
