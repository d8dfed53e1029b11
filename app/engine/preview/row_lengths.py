"""Lengths of the longest rows as the trainer tokenizes them, from which the memory of a step follows."""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING

from app.data.rows import prompt_and_answer
from app.engine.datasets.row_filter import truncation_length
from app.engine.generation.generate import render_prompt
from app.engine.generation.transformers_generator import tokenize_rendered
from app.engine.tokens.tokenized_examples import IGNORE_INDEX, token_counts
from app.setup.step_memory import RowLengths

if TYPE_CHECKING:
    from datasets import Dataset

    from app.engine.job import Job
    from app.engine.tokens.tokenized_examples import IntArray

_RENDERED_PROMPTS = 16  # the longest by characters: one of them has the most tokens
_READ_ROWS = 20_000


def row_lengths(job: Job, table: Dataset) -> RowLengths:
    """table: the trainer's rows before truncation. A length is 0 where the method has no such text."""
    counts = token_counts(table) if hasattr(table, "data") else None
    prompt = _longest_prompt(job)
    if counts is None or not len(counts[0]):
        return RowLengths(text=prompt, learned=0, prompt=prompt)
    learned = learned_within(table, counts, truncation_length(job))
    return RowLengths(text=int(counts[0].max()), learned=max(0, int(learned.max())), prompt=prompt)


def learned_within(table: Dataset, counts: tuple[IntArray, IntArray], limit: int | None) -> IntArray:
    """How many tokens of each text are trained within the limit; 0 or less where none is. counts: those of `token_counts`."""
    import numpy

    lengths, trained = counts
    if limit is None:
        return trained
    if "labels" not in table.column_names:  # the trained tokens stand at the end
        return numpy.minimum(lengths, limit) - (lengths - trained)
    labels = table.data.column("labels").combine_chunks()
    offsets = labels.offsets.to_numpy()
    ends = numpy.minimum(offsets[1:], offsets[:-1] + limit)
    running_total = numpy.concatenate([[0], numpy.cumsum(labels.values.to_numpy() != IGNORE_INDEX)])
    return running_total[ends] - running_total[offsets[:-1]]


def _longest_prompt(job: Job) -> int:
    """Tokens of the longest prompt, rendered for its completion."""
    prompts = [pair[0] for row in islice(job.data.train, _READ_ROWS) if (pair := prompt_and_answer(row))]
    prompts.sort(key=lambda prompt: len(str(prompt)), reverse=True)
    texts = (render_prompt(job.tokenizer, prompt, job.prompts_are_chat) for prompt in prompts[:_RENDERED_PROMPTS])
    return max((len(tokenize_rendered(job.tokenizer, text)) for text in texts), default=0)
