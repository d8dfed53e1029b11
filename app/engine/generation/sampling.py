"""Sampling: how a model writes the answers that it learns from, for all methods in which it writes its own."""

from __future__ import annotations

import json
from typing import Any

from pydantic import field_validator

from app.core.problems import Problem
from app.engine.trainers.training_args import TrainingKnobs
from app.setup.knob import knob


class TemplateArguments(TrainingKnobs):
    """Shared by the methods whose trainer passes arguments on to the chat template."""

    template_arguments: list[str] = knob(
        [], "What the model's chat format is told, such as enable_thinking=false. One on each line.")  # fmt: skip

    @field_validator("template_arguments")
    @classmethod
    def named_values(cls, lines: list[str]) -> list[str]:
        parsed(lines)
        return lines


class SamplingKnobs(TrainingKnobs):
    """Shared by methods in which the model writes its own answers."""

    max_completion_length: int = knob(
        256, "Answers are cut off here. Shorter is much quicker.", low=1, high=1_000_000, safe=(4, 1024),
        unit="tokens", everyday=True)  # fmt: skip
    temperature: float = knob(
        1.0, "How adventurous the attempts are. Too low and they are all alike, and nothing can be learned.",
        low=0.05, high=5.0, safe=(0.7, 1.2))  # fmt: skip
    top_p: float = knob(1.0, "Leaves out the least likely tokens beyond this share of probability.", low=0.01, high=1.0)
    top_k: int = knob(0, "Chooses among this many of the likeliest tokens only; 0 takes all.", low=0, high=1_000_000, unit="tokens")  # fmt: skip
    min_p: float = knob(
        0.0, "Leaves out tokens less likely than this share of the likeliest; 0 leaves out none, 0.01 to 0.2 is usual.",
        low=0.0, high=1.0)  # fmt: skip
    repetition_penalty: float = knob(
        1.0, "Above 1 makes words that stand there already less likely, below 1 likelier. What is written then is no longer quite "
        "what the model would say, so go gently.", low=0.1, high=10.0, safe=(1.0, 1.1))  # fmt: skip
    stop: list[str] = knob([], "Tokens that also end an answer, such as <|im_end|>. One on each line.")
    samples_every: int = knob(
        10, "Shows some attempts with their rewards every so many steps.", low=1, high=10_000, unit="steps")  # fmt: skip


class TemplateKnobs(SamplingKnobs, TemplateArguments):
    """And for those whose trainer passes arguments on to the chat template."""


def parsed(lines: list[str]) -> dict[str, Any]:
    """Lines of name=value; the value is true, false, a number, or else text. Raises ValueError."""
    found: dict[str, Any] = {}
    for line in lines:
        name, sign, value = (part.strip() for part in line.partition("="))
        if not sign or not name.isidentifier():
            raise ValueError(f"“{line}” should be a name and a value, such as enable_thinking=false")
        found[name] = value_of(value)
    return found


def value_of(text: str) -> Any:
    try:
        return json.loads(text.lower() if text.lower() in ("true", "false") else text)
    except ValueError:  # a border: what is no JSON is meant as text
        return text


def template_of(knobs: dict[str, Any]) -> dict[str, Any]:
    """The template's arguments of a run's settings, so that tests and talk ask as training did."""
    return parsed(knobs.get("template_arguments", []))


def arguments(knobs: Any) -> dict[str, Any]:
    """What TRL's configs are told, but for the longest answer, which has several names."""
    return {
        "temperature": knobs.temperature,
        "top_p": knobs.top_p,
        "top_k": knobs.top_k,
        "min_p": knobs.min_p or None,
        "repetition_penalty": knobs.repetition_penalty,
    }


def add_stops(model: Any, tokenizer: Any, stops: list[str]) -> None:
    """Makes tokens end an answer wherever this model writes: TRL ends completions at every end token its model declares."""
    declared = model.generation_config.eos_token_id
    ends = [*declared] if isinstance(declared, list) else [tokenizer.eos_token_id if declared is None else declared]
    for stop in stops:
        ids = tokenizer.encode(stop, add_special_tokens=False)
        if len(ids) != 1:
            raise Problem(f"“{stop}” is {len(ids)} tokens to this model, and only a single token can end an answer.",
                          advice="Take one of its special tokens, or leave it out.")  # fmt: skip
        ends += [one for one in ids if one not in ends]
    if stops:
        model.generation_config.eos_token_id = ends
