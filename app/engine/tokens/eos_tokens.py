"""End-of-sequence tokens: those by which a model knows that an answer is over."""

from __future__ import annotations

from typing import TYPE_CHECKING

from app.contracts import Severity
from app.engine.generation.end_tokens import HasGenerationConfig, declared_end_token_ids
from app.engine.model.template_source import try_render
from app.engine.model.tokenizer import special_token_ids

if TYPE_CHECKING:
    from app.engine.job import Job

_ANSWER_PLACEHOLDER = "\ue000"  # of the Unicode private use area: it occurs in no text


def end_token_ids(job: Job) -> list[int]:
    """The tokenizer's end-of-sequence token, and the special token that the chat template writes right after an
    answer."""
    tokenizer = job.trainers_tokenizer
    eos_ids = [] if tokenizer.eos_token_id is None else [tokenizer.eos_token_id]
    messages = [{"role": "user", "content": "Hello"}, {"role": "assistant", "content": _ANSWER_PLACEHOLDER}]
    text = (try_render(tokenizer, messages) if job.uses_chat_template else None) or ""
    after_answer = text.partition(_ANSWER_PLACEHOLDER)[2].lstrip()
    following = tokenizer(after_answer, add_special_tokens=False).input_ids if _ANSWER_PLACEHOLDER in text else []
    return sorted({*eos_ids, *(token_id for token_id in following[:1] if token_id in special_token_ids(tokenizer))})


def undeclared_end_tokens(job: Job, model: HasGenerationConfig) -> list[int]:
    """End tokens of answers at which `generate` does not stop by the model's own settings: a base model's often name
    another token than the one that its chat template writes."""
    if job.kind != "causal":
        return []
    declared = declared_end_token_ids(model)
    return [token_id for token_id in end_token_ids(job) if token_id not in declared]


def end_token_findings(job: Job, model: HasGenerationConfig) -> list[tuple[Severity, str]]:
    """(severity, sentence) where a program that loads the result by its base model's settings would not stop."""
    undeclared = undeclared_end_tokens(job, model)
    if not undeclared:
        return []
    tokenizer = job.trainers_tokenizer
    names = " or ".join(tokenizer.convert_ids_to_tokens(undeclared))
    own_names = " or ".join(tokenizer.convert_ids_to_tokens(declared_end_token_ids(model))) or "no token at all"
    text = f"Answers end with {names}, but this model's own settings stop at {own_names}."
    if job.spec.adapter.kind == "none":  # the whole model is saved, with its settings
        return [("good", f"{text} Those of the result name both, so that every program stops there.")]
    advice = "Here, and by the code in the model card, answers stop where they should; another program has to be told the stop token."
    return [("careful", f"{text} {advice}")]
