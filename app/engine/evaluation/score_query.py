"""Opinion: what a result that scores says of answers to a prompt, or of each step of a solution."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from app.core import registry
from app.core.problems import Problem
from app.engine.evaluation.scoring import chances, fits, scores, tokens
from app.engine.generation.chat import has_result, result_of
from app.engine.trainers.prm import tokenized
from app.runs import store

MOST = 64  # answers or steps at once


def check(request: dict[str, Any]) -> None:
    """Before waiting for a turn: is there a result that can say this? Raises Problem."""
    run = has_result(request)
    kind = getattr(registry.load("methods", run.spec.method), "MODEL", "causal")
    if kind == "causal":
        raise Problem(
            f"“{store.title(run)}” writes answers and gives no score.",
            advice="Ask it something, or train one that scores.",
        )
    said = request.get("answers" if kind == "scores" else "steps", [])
    if not request["prompt"].strip() or not any(one.strip() for one in said):
        what = "an answer" if kind == "scores" else "the steps, one on each line"
        raise Problem("There is nothing to judge yet.", advice=f"Write a question and {what}.")
    if len(said) > MOST:
        raise Problem(f"These are {len(said)} to judge at once.", advice=f"Give it at most {MOST}.")


def opinion(request: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """{"done": {"scores": one number for each answer}} or {"done": {"steps": for each step the chance that it is right}}."""
    found = store.find(request["run"])
    model, tokenizer = result_of(request["run"])
    if getattr(registry.load("methods", found.spec.method), "MODEL", "causal") == "scores":
        texts = [tokens(tokenizer, request["prompt"], answer) for answer in request["answers"]]
        require_room(model, texts)
        yield {"done": {"scores": [round(one, 4) for one in scores(model, texts)]}}
        return
    row = {"prompt": request["prompt"], "completions": request["steps"], "labels": [True] * len(request["steps"])}
    prepared = tokenized(row, tokenizer, found.spec.knobs["step_separator"])
    require_room(model, [prepared["input_ids"]])
    [told] = chances(model, [prepared["input_ids"]])
    ends = [place for place, label in enumerate(prepared["labels"]) if label == 1]
    yield {"done": {"steps": [round(told[place], 4) for place in ends]}}


def require_room(model: Any, texts: list[list[int]]) -> None:
    longest = max(map(len, texts))
    if longest > (most := fits(model)):
        raise Problem(f"This is {longest:,} tokens long, and the model reads at most {most:,}.", advice="Give it something shorter.")  # fmt: skip
