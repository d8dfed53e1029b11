"""Written: a short conversation in the chat format that a setup names, once that was tried: it may be a stranger's program."""

from __future__ import annotations

from typing import Any

from app.core.validation import parse
from app.engine.model import template_source
from app.engine.model.tokenizer import broken_marks, rendered, special_ids, tokenizer_of
from app.setup.spec import Model

SHOWN = 2_000  # letters


def look(request: dict[str, Any]) -> dict[str, Any]:
    """{"text": how it writes “Hello” and an answer, "tokens": how many these are, "end": the mark that ends the answer or "",
    "broken": marks that this model reads as several tokens}. Raises Problem for a format that cannot be used."""
    tokenizer = tokenizer_of(parse(Model, request["model"], "The model"))
    with template_source.guarded(tokenizer.chat_template, template_source.SECONDS):
        text = rendered(tokenizer)
    ids = tokenizer(text, add_special_tokens=False).input_ids
    return {"text": text[:SHOWN], "tokens": len(ids), "end": end_in(text, tokenizer), "broken": broken_marks(tokenizer)}  # fmt: skip


def end_in(text: str, tokenizer: Any) -> str:
    """The mark right behind the answer, white space aside."""
    _, found, after = text.rpartition(template_source.TRIAL[-1]["content"])
    marks = sorted((tokenizer.convert_ids_to_tokens(one) for one in special_ids(tokenizer)), key=len, reverse=True)  # fmt: skip
    return next((one for one in marks if found and after.lstrip().startswith(one)), "")
