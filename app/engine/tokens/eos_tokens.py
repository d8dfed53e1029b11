"""Ends: the tokens by which a model knows that an answer is over."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from app.engine.job import Job

MARK = "\ue000"  # stands in no text: of the private use area


def ends_of(job: Job) -> list[int]:
    """The end token of the vocabulary, and what the chat format writes right after an answer where that is a mark."""
    from app.engine.model.tokenizer import special_ids

    words = job.trainers_tokenizer
    found = [] if words.eos_token_id is None else [words.eos_token_id]
    turns = [{"role": "user", "content": "Hello"}, {"role": "assistant", "content": MARK}]
    try:
        told = words.apply_chat_template(turns, tokenize=False) if job.chat else ""
    except Exception:  # a border: a template is a stranger's program and may refuse this conversation
        told = ""
    after = words(told.partition(MARK)[2].lstrip(), add_special_tokens=False).input_ids if MARK in told else []
    return sorted({*found, *(one for one in after[:1] if one in special_ids(words))})
