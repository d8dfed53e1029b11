"""Commands `result`, `chat`, `score` and `push`: choosing, using and publishing the result of a run."""

from __future__ import annotations

import sys
from enum import StrEnum
from typing import Annotated

import typer

from app.cli.options import AsJson, RunId
from app.cli.terminal import format_scores, print_document, print_text
from app.core.workspace import local_workspace
from app.history.result_words import result_words
from app.hub import api
from app.runs import result, store
from app.worker.client import WorkerClient


class _Choice(StrEnum):
    BEST = "best"
    LAST = "last"


def choose_result(
    run_id: RunId,
    choice: Annotated[_Choice | None, typer.Argument(help="Makes this checkpoint the result.")] = None,
    as_json: AsJson = False,
) -> None:
    """From which checkpoint a run's result is; `best` or `last` makes that one the result."""
    run = store.find_run(local_workspace(), run_id)
    if choice:
        result.use_checkpoint(run, choice.value)
    print_document(
        result.read_result(run), as_json, lambda _: result_words(run) or "The result is that of the last step."
    )


def chat(
    run_id: RunId,
    prompts: Annotated[list[str], typer.Option("--prompt", help="What to ask.")],
    base: Annotated[bool, typer.Option("--base", help="Also ask the model it started from.")] = False,
    as_json: AsJson = False,
) -> None:
    """Asks a run's result."""
    with WorkerClient() as worker:
        answers = worker.generate(store.find_run(local_workspace(), run_id).id, prompts, with_base_model=base)
    print_document(
        answers,
        as_json,
        lambda s: "\n".join(f"{model_name}: {text}" for model_name, texts in s.items() for text in texts),
    )


def score(
    run_id: RunId,
    prompt: Annotated[str, typer.Option("--prompt", help="The question.")],
    answers: Annotated[list[str], typer.Option("--answer", help="An answer to score.")] = [],  # noqa: B006 typer copies it
    steps: Annotated[list[str], typer.Option("--step", help="A step of a solution, in order.")] = [],  # noqa: B006
    as_json: AsJson = False,
) -> None:
    """Asks a reward model what it thinks of answers, or of each step of a solution."""
    with WorkerClient() as worker:
        scores = worker.score(
            store.find_run(local_workspace(), run_id).id, prompt, completions=answers, reasoning_steps=steps
        )
    print_document(scores, as_json, lambda s: format_scores(s, answers, steps))


def push(
    run_id: RunId, repo: str, public: Annotated[bool, typer.Option("--public")] = False, as_json: AsJson = False
) -> None:
    """Publishes a run's result to the Hub, private unless --public."""
    print_progress = None if as_json else lambda step_text, done, of: print_text(step_text, file=sys.stderr)
    address = api.publish_run(
        store.find_run(local_workspace(), run_id), repo, private=not public, progress=print_progress
    )
    print_document({"url": address}, as_json, lambda d: f"Published: {d['url']}")
