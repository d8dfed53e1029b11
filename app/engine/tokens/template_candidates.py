"""Template candidates: the chat templates that may take the place of a job's own, the most alike first."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from difflib import SequenceMatcher
from typing import TYPE_CHECKING

from app.engine.masking.template_refusals import TemplateRefusals
from app.engine.masking.unwritten_fields import KNOWN_FIELDS, UnwrittenFields
from app.engine.model import template_source
from app.engine.model.tokenizer import load_tokenizer, render_trial, split_markers
from app.engine.preview.template_preview import end_marker_in
from app.setup import models

if TYPE_CHECKING:
    from app.data.fields import Row
    from app.engine.job import Job


def find_writing_template(job: Job, rows: list[Row]) -> str | None:
    """The template setting that writes every known field of these rows, as `find_fixing_template` returns it. Templates whose
    markers are single tokens of this vocabulary come first."""
    own_template = _own_template(job)
    own_candidates = [""] if own_template else []
    for template in dict.fromkeys([*own_candidates, *similar_templates(job), *_templates_with_split_markers(job)]):
        tokenizer = copy.copy(job.trainers_tokenizer)
        text = template_source.template_text(template) if template else own_template
        tokenizer.chat_template = text
        refuses = TemplateRefusals(tokenizer, text, job.template_arguments, job.method.row_types)
        unwritten = UnwrittenFields(tokenizer, text, job.template_arguments, job.method.row_types)
        if not any(refuses(row) or unwritten(row) & KNOWN_FIELDS for row in rows):
            return template
    return None


def _templates_with_split_markers(job: Job) -> list[str]:
    """TRL's templates that end an answer with a special token of this vocabulary, and write markers that it splits."""
    return [f"trl:{name}" for name, _ in ending_templates(job)]


def model_template(job: Job) -> list[str]:
    """[""], the model's own template, where the setup has another and the model has one."""
    return [""] if _own_template(job) else []


def _own_template(job: Job) -> str:
    """The model's own template; empty where the setup has no other, or the model has none. Loads a tokenizer."""
    if not job.spec.model.template:
        return ""
    own_model = job.spec.model.model_copy(update={"template": None})
    return str(load_tokenizer(own_model).chat_template or "")


def similar_templates(job: Job) -> list[str]:
    """TRL's templates whose special tokens are in this vocabulary, the one that writes most alike first."""
    current_text = render_trial(job.trainers_tokenizer)
    ranked = sorted(
        (-SequenceMatcher(None, current_text, text).ratio(), template) for template, text in _usable_templates(job)
    )
    return [template for _, template in ranked]


def _usable_templates(job: Job) -> Iterator[tuple[str, str]]:
    """(`trl:NAME`, a short conversation as it writes it) of templates that end an answer with a special token of this
    vocabulary."""
    tokenizer = copy.copy(job.trainers_tokenizer)
    for name, text in ending_templates(job):
        tokenizer.chat_template = template_source.template_text(f"trl:{name}")
        if not split_markers(tokenizer):
            yield f"trl:{name}", text


def ending_templates(job: Job) -> Iterator[tuple[str, str]]:
    """(name, a short conversation as it writes it) of templates that end an answer with a special token of this vocabulary."""
    tokenizer = copy.copy(job.trainers_tokenizer)
    for name in models.chat_template_names():
        tokenizer.chat_template = template_source.template_text(f"trl:{name}")
        text = render_trial(tokenizer)
        if end_marker_in(text, tokenizer):
            yield name, text


def job_with_template(job: Job, template: str) -> Job:
    """A new job with another chat template."""
    from app.engine.job import Job

    model = job.spec.model.model_copy(update={"template": template or None})
    return Job(job.spec.model_copy(update={"model": model}), job.folder, job.device)
