"""Written: a short conversation in the chat format that a setup names, once that was tried: it may be a stranger's program."""

from __future__ import annotations

from typing import Any

from app.engine.weights import templates, words
from app.spec import Model
from app.validation import parse

SHOWN = 2_000  # letters


def look(request: dict[str, Any]) -> dict[str, Any]:
    """{"text": how it writes “Hello” and an answer, "tokens": how many these are, "end": the mark that ends the answer or "",
    "broken": marks that this model reads as several tokens}. Raises Problem for a format that cannot be used."""
    tokenizer = words.tokenizer_of(parse(Model, request["model"], "The model"))
    with templates.guarded(tokenizer.chat_template, templates.SECONDS):
        text = words.rendered(tokenizer)
    ids = tokenizer(text, add_special_tokens=False).input_ids
    return {"text": text[:SHOWN], "tokens": len(ids), "end": end_in(text, tokenizer), "broken": words.broken_marks(tokenizer)}  # fmt: skip


def end_in(text: str, tokenizer: Any) -> str:
    """The mark right behind the answer, white space aside."""
    _, found, after = text.rpartition(templates.TRIAL[-1]["content"])
    marks = sorted((tokenizer.convert_ids_to_tokens(one) for one in words.special_ids(tokenizer)), key=len, reverse=True)  # fmt: skip
    return next((one for one in marks if found and after.lstrip().startswith(one)), "")
