"""Sampling settings of all methods in which the model generates its own completions, and chat template arguments."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, TypedDict

from pydantic import JsonValue, field_validator

from app.core.json_types import JsonObject
from app.core.problems import Problem
from app.engine.contracts import SamplingSettings
from app.engine.generation.end_tokens import HasGenerationConfig, declared_end_token_ids
from app.engine.trainers.training_args import TrainingKnobs
from app.setup.knob import knob

if TYPE_CHECKING:
    from torch import Tensor
    from transformers import LogitsProcessor, PreTrainedTokenizerBase


class TemplateArgumentKnobs(TrainingKnobs):
    """Settings of the methods whose trainer passes arguments on to the chat template."""

    template_arguments: list[str] = knob(
        [],
        "What the model's chat format is told, such as enable_thinking=false. One on each line.",
        library_name="chat_template_kwargs",
        affects="rows",
    )

    @field_validator("template_arguments")
    @classmethod
    def check_template_arguments(cls, lines: list[str]) -> list[str]:
        """Raises ValueError for a line that is not name=value."""
        parse_template_arguments(lines)
        return lines


class SamplingKnobs(TrainingKnobs):
    """Settings of the methods in which the model generates its own completions."""

    max_completion_length: int = knob(
        256,
        "Answers are cut off here. Shorter is much quicker.",
        low=1,
        high=1_000_000,
        safe=(4, 1024),
        unit="tokens",
        everyday=True,
        affects="timing",
    )
    temperature: float = knob(
        1.0,
        "How adventurous the attempts are. Too low and they are all alike, and nothing can be learned.",
        low=0.05,
        high=5.0,
        safe=(0.7, 1.2),
        affects="timing",
    )
    top_p: float = knob(
        1.0,
        "Leaves out the least likely tokens beyond this share of probability.",
        low=0.01,
        high=1.0,
        affects="timing",
    )
    top_k: int = knob(
        0,
        "Chooses among this many of the likeliest tokens only; 0 takes all.",
        low=0,
        high=1_000_000,
        unit="tokens",
        affects="timing",
    )
    min_p: float = knob(
        0.0,
        "Leaves out tokens less likely than this share of the likeliest; 0 leaves out none, 0.01 to 0.2 is usual.",
        low=0.0,
        high=1.0,
        affects="timing",
    )
    repetition_penalty: float = knob(
        1.0,
        "Above 1 makes words that stand there already less likely, below 1 likelier. What is written then is no longer quite "
        "what the model would say, so go gently.",
        low=0.1,
        high=10.0,
        safe=(1.0, 1.1),
        affects="timing",
    )
    stop: list[str] = knob(
        [], "Tokens that also end an answer, such as <|im_end|>. One on each line.", affects="timing"
    )
    samples_every: int = knob(
        10,
        "Shows some attempts with their rewards every so many steps.",
        low=1,
        high=10_000,
        unit="steps",
        affects="evaluation",
    )


class TemplateKnobs(SamplingKnobs, TemplateArgumentKnobs):
    """Sampling settings together with chat template arguments."""


def parse_template_arguments(lines: list[str]) -> JsonObject:
    """Arguments from lines of name=value; a value is true, false, other JSON such as a number, or else text.

    Raises ValueError.
    """
    arguments: JsonObject = {}
    for line in lines:
        name, sign, value = (field.strip() for field in line.partition("="))
        if not sign or not name.isidentifier():
            raise ValueError(f"“{line}” should be a name and a value, such as enable_thinking=false")
        arguments[name] = _parse_argument(value)
    return arguments


def _parse_argument(text: str) -> JsonValue:
    try:
        return json.loads(text.lower() if text.lower() in ("true", "false") else text)
    except ValueError:  # a person's text: what is not JSON is meant as a string
        return text


class SamplingArguments(TypedDict):
    """Sampling arguments by the names that TRL, transformers and `SamplingSettings` share."""

    temperature: float
    top_p: float
    top_k: int
    min_p: float | None
    repetition_penalty: float


def sampling_arguments(knobs: SamplingKnobs) -> SamplingArguments:
    """Sampling arguments for TRL's configs, except the maximum length, whose name differs between them."""
    return {
        "temperature": knobs.temperature,
        "top_p": knobs.top_p,
        "top_k": knobs.top_k,
        "min_p": knobs.min_p or None,
        "repetition_penalty": knobs.repetition_penalty,
    }


def sampling_settings(knobs: SamplingKnobs, end_token_ids: list[int] | None = None) -> SamplingSettings:
    """The settings of a run for a generator of ours."""
    return SamplingSettings(
        max_new_tokens=knobs.max_completion_length, end_token_ids=end_token_ids, **sampling_arguments(knobs)
    )


def sample_token_ids(logits: Tensor, sampling: SamplingSettings) -> Tensor:
    """One token id for each distribution of `logits` (…, vocabulary), as `generate` of transformers samples them."""
    import torch
    from transformers import MinPLogitsWarper, TopKLogitsWarper, TopPLogitsWarper

    if sampling.temperature == 0:
        return logits.argmax(-1)
    flat_logits = logits.float().flatten(0, -2) / sampling.temperature
    warpers: list[LogitsProcessor] = []
    if sampling.top_k:
        warpers.append(TopKLogitsWarper(sampling.top_k))
    if sampling.top_p is not None and sampling.top_p < 1:
        warpers.append(TopPLogitsWarper(sampling.top_p))
    if sampling.min_p:
        warpers.append(MinPLogitsWarper(sampling.min_p))
    for warper in warpers:
        flat_logits = warper(None, flat_logits)
    return torch.multinomial(torch.softmax(flat_logits, dim=-1), 1).view(logits.shape[:-1])


def add_stop_tokens(model: HasGenerationConfig, tokenizer: PreTrainedTokenizerBase, stop_tokens: list[str]) -> None:
    """Adds end tokens to the model's generation config, which TRL and `generate` obey.

    Raises Problem for text of several tokens.
    """
    end_token_ids = declared_end_token_ids(model) or [tokenizer.eos_token_id]
    for stop_token in stop_tokens:
        token_ids = tokenizer.encode(stop_token, add_special_tokens=False)
        if len(token_ids) != 1:
            raise Problem(
                f"“{stop_token}” is {len(token_ids)} tokens to this model, and only a single token can end an answer.",
                advice="Take one of its special tokens, or leave it out.",
            )
        end_token_ids += [token_id for token_id in token_ids if token_id not in end_token_ids]
    if stop_tokens:
        model.generation_config.eos_token_id = end_token_ids
