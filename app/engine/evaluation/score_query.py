"""Scores by a run's reward model: of answers to a prompt, or of each step of a solution."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from app.core.problems import Problem
from app.core.workspace import local_workspace
from app.engine.contracts import load_method
from app.engine.evaluation.scoring import max_input_length, score_texts, step_probabilities, tokenize_pair
from app.engine.generation.loaded_result import load_result, on_device, run_with_result
from app.engine.trainers.prm import tokenize_steps
from app.runs import store

if TYPE_CHECKING:
    from transformers import PreTrainedModel

_MAX_TEXTS = 64  # answers or steps in one request


def require_scoring_result(run_id: str, prompt: str, answers: Sequence[str], steps: Sequence[str]) -> None:
    """Raises Problem, before queueing for the device, when the result gives no score or there is nothing to score."""
    run = run_with_result(run_id)
    model_kind = load_method(run.spec.method).produces
    if model_kind == "causal":
        raise Problem(
            f"“{store.run_title(run)}” writes answers and gives no score.",
            advice="Ask it something, or train one that scores.",
        )
    texts = answers if model_kind == "scores" else steps
    if not prompt.strip() or not any(text.strip() for text in texts):
        needed = "an answer" if model_kind == "scores" else "the steps, one on each line"
        raise Problem("There is nothing to judge yet.", advice=f"Write a question and {needed}.")
    if len(texts) > _MAX_TEXTS:
        raise Problem(f"These are {len(texts)} to judge at once.", advice=f"Give it at most {_MAX_TEXTS}.")


def score_query(run_id: str, prompt: str, answers: Sequence[str], steps: Sequence[str]) -> dict[str, list[float]]:
    """{"scores": one for each answer} of a reward model, {"steps": the probability that each is right} of a process
    reward model."""
    run = store.find_run(local_workspace(), run_id)
    model, tokenizer = load_result(run_id)
    if load_method(run.spec.method).produces == "scores":
        texts = [tokenize_pair(tokenizer, prompt, answer) for answer in answers]
        _require_length(model, texts)
        with on_device(model):
            return {"scores": [round(score, 4) for score in score_texts(model, texts)]}
    row = {"prompt": prompt, "completions": [*steps], "labels": [True] * len(steps)}
    tokenized_row = tokenize_steps(row, tokenizer, run.spec.knobs["step_separator"])
    _require_length(model, [tokenized_row["input_ids"]])
    with on_device(model):
        [probabilities] = step_probabilities(model, [tokenized_row["input_ids"]])
    step_ends = [position for position, label in enumerate(tokenized_row["labels"]) if label == 1]
    return {"steps": [round(probabilities[position], 4) for position in step_ends]}


def _require_length(model: PreTrainedModel, texts: list[list[int]]) -> None:
    longest = max(map(len, texts))
    if longest > (limit := max_input_length(model)):
        raise Problem(
            f"This is {longest:,} tokens long, and the model reads at most {limit:,}.",
            advice="Give it something shorter.",
        )
