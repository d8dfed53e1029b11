"""Template preview: a short conversation in the chat template that a setup names, with a time limit."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypedDict

from app.engine.model import template_source
from app.engine.model.tokenizer import load_tokenizer, render_trial, special_token_ids, split_markers
from app.setup.spec import Model

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

_MAX_CHARACTERS = 2_000


class TemplatePreview(TypedDict):
    """A short conversation in a chat template.

    tokens: how many these are. end: the special token that ends the answer, or "". broken: markers that this model
    reads as several tokens.
    """

    text: str
    tokens: int
    end: str
    broken: list[str]


def preview_template(model: Model) -> TemplatePreview:
    """How the model's template writes “Hello” and an answer. Raises Problem for a template that cannot be used."""
    tokenizer = load_tokenizer(model)
    with template_source.template_time_limit(tokenizer.chat_template, template_source.MAX_SECONDS):
        text = render_trial(tokenizer)
    return {
        "text": text[:_MAX_CHARACTERS],
        "tokens": len(tokenizer(text, add_special_tokens=False).input_ids),
        "end": end_marker_in(text, tokenizer),
        "broken": split_markers(tokenizer),
    }


def end_marker_in(text: str, tokenizer: PreTrainedTokenizerBase) -> str:
    """The special token right behind the answer of the trial conversation, white space aside; empty where there is
    none."""
    _, answer, after = text.rpartition(template_source.TRIAL_MESSAGES[-1]["content"])
    special_tokens = tokenizer.convert_ids_to_tokens(list(special_token_ids(tokenizer)))
    longest_first = sorted(special_tokens, key=len, reverse=True)
    return next((token for token in longest_first if answer and after.lstrip().startswith(token)), "")
