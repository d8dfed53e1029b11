"""Template alternatives: another chat template under which rows train their end token, tried on the rows."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING

from app.core.problems import Problem
from app.engine.datasets.token_columns import TokenBatch, iterate_token_batches, missing_end_tokens
from app.engine.model import template_source
from app.engine.preview import run_estimate, trainer_capture
from app.engine.tokens.eos_tokens import end_token_ids
from app.engine.tokens.template_candidates import job_with_template, model_template, similar_templates

if TYPE_CHECKING:
    from app.engine.job import Job

_MAX_TEMPLATES_TRIED = 4  # on the rows themselves: each takes a part of a second
_MAX_TRIAL_ROWS = 8  # that a template is tried on


def find_fixing_template(job: Job, row_numbers: list[int]) -> str | None:
    """The template setting with which those rows train their end token: "" for the model's own, `trl:NAME`, or None
    where no known template does it.

    row_numbers: from 1, among the rows that are trained on.
    """
    if (
        job.streaming
        or not job.prompts_are_chat
        or job.processor is not None
        or "input_ids" in job.data.train.column_names
    ):
        return None
    for template in [*model_template(job), *similar_templates(job)][:_MAX_TEMPLATES_TRIED]:
        if template_fixes_rows(job, template, row_numbers[:_MAX_TRIAL_ROWS]):
            return template
    return None


def template_fixes_rows(job: Job, template: str, row_numbers: list[int]) -> bool:
    """Whether those rows, under that template, are prepared without truncation and each trains an end token."""
    trial = job_with_template(job, template)
    trial.data = copy.copy(job.data)
    trial.data.train = job.data.train.select([number - 1 for number in row_numbers])
    trial.preview, trial.wrap_trainer = True, trainer_capture.stop_before_training
    try:
        trainer = trial.method.build(trial)  # renders the rows
    except (*template_source.TEMPLATE_ERRORS, Problem):  # boundary: the template may refuse such a conversation
        return False
    table = run_estimate.untruncated_table(trainer)
    batches = [batch for chunk in iterate_token_batches(table) for batch in chunk]
    is_complete = bool(batches) and len(table) == len(row_numbers)
    return is_complete and all(_learns_end_token(batch, trial) for batch in batches)


def _learns_end_token(batch: TokenBatch, job: Job) -> bool:
    """Whether each text of the batch fits the maximum length and trains an end token."""
    limit = getattr(job.knobs, "max_length", None)
    unlearned, missing = missing_end_tokens(batch, end_token_ids(job), limit)
    fits = limit is None or bool((batch.lengths <= limit).all())
    has_trained_tokens = bool((batch.count(batch.is_trained) > 0).all())
    return fits and has_trained_tokens and not unlearned.any() and not missing.any()
