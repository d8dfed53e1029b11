"""Formats: another chat format under which rows learn their end token, tried on these very rows before it is offered."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from difflib import SequenceMatcher
from typing import TYPE_CHECKING, Any

from app.engine.datasets.token_columns import pieces
from app.engine.model import template_source
from app.engine.model.tokenizer import broken_marks, rendered, tokenizer_of
from app.engine.preview import run_estimate, trainer_capture
from app.engine.preview.template_preview import end_in
from app.engine.tokens.eos_tokens import ends_of
from app.setup import models

if TYPE_CHECKING:
    from app.engine.job import Job

MOST_TRIED = 4  # formats on the rows themselves: each takes a part of a second
ROWS = 8  # that a format is tried on


def mending(job: Job, numbers: list[int]) -> str | None:
    """What the setup's template should be so that those rows learn their end: "" for the model's own, `trl:NAME`, or None where
    no format that is known here mends them. numbers: from 1, among those that are learned from."""
    if job.streaming or not job.speaks or job.processor is not None or "input_ids" in job.data.train.column_names:
        return None
    for told in [*own(job), *nearest(job)][:MOST_TRIED]:
        if mends(job, told, numbers[:ROWS]):
            return told
    return None


def own(job: Job) -> list[str]:
    """The model's own format, where the setup has another and the model has one."""
    if not job.spec.model.template:
        return []
    return [""] if tokenizer_of(with_template(job, "").spec.model).chat_template else []


def nearest(job: Job) -> list[str]:
    """TRL's formats whose marks this vocabulary knows, the one that writes most alike first."""
    now = rendered(job.trainers_tokenizer)
    found = [(SequenceMatcher(None, now, text).ratio(), told) for told, text in known(job)]
    return [told for _, told in sorted(found, key=lambda one: (-one[0], one[1]))]


def known(job: Job) -> Iterator[tuple[str, str]]:
    """(`trl:NAME`, a short conversation as it writes it) of formats that end an answer with a mark of this vocabulary."""
    tokenizer = copy.copy(job.trainers_tokenizer)
    for name in models.chat_formats():
        tokenizer.chat_template = template_source.text_of(f"trl:{name}")
        text = rendered(tokenizer)
        if end_in(text, tokenizer) and not broken_marks(tokenizer):
            yield f"trl:{name}", text


def with_template(job: Job, told: str) -> Job:
    """The same job in that chat format. Its rows are those of the other."""
    from app.engine.job import Job

    model = job.spec.model.model_copy(update={"template": told or None})
    return Job(job.spec.model_copy(update={"model": model}), job.folder, job.device)


def mends(job: Job, told: str, numbers: list[int]) -> bool:
    """Whether those rows, in that format, are prepared whole and learn an end."""
    tried = with_template(job, told)
    tried.data = copy.copy(job.data)
    tried.data.train = job.data.train.select([one - 1 for one in numbers])
    tried.preview, tried.shape = True, trainer_capture.stopped
    try:
        table = run_estimate.texts(tried.method.build(tried))
        found = [text for piece in pieces(table) for text in piece]
        return bool(found) and len(table) == len(numbers) and all(learns_end(text, tried) for text in found)
    except Exception:  # a border: a format may refuse such a conversation
        return False


def learns_end(text: Any, job: Job) -> bool:
    from app.engine.audit.checks.end_tokens import of_text

    limit = getattr(job.knobs, "max_length", None)
    unlearned, missing = of_text(text, ends_of(job), limit)
    fits = limit is None or bool((text.lengths <= limit).all())
    return fits and bool((text.count(text.learned) > 0).all()) and not unlearned.any() and not missing.any()
