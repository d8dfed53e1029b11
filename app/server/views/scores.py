"""Opinion: in Try, what a result that scores says of answers of one's own, or of each step of a solution."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import gradio as gr

from app.core import registry
from app.runs import store
from app.runs.store import Run
from app.server.error_boundary import QUIET, Updates, said, steadily
from app.worker.client import Worker
from components import scores
from components.shell import HERE, Frame
from components.theme import page, safe

SCORE, JUDGE = "Score", "Judge the steps"
WORDS = {"scores": "This model does not write: it gives answers a score. Try one of your own, or two against each other.",
         "step_scores": "This model does not write: it judges each step of a solution as right or wrong. Try one of your own."}  # fmt: skip


@dataclass(frozen=True)
class Opinion:
    """The pieces. answers: two boxes, of which a model that judges steps shows neither."""

    body: gr.Column
    words: gr.HTML
    prompt: gr.Textbox
    answers: tuple[gr.Textbox, gr.Textbox]
    steps: gr.Textbox
    ask: gr.Button
    aside: gr.HTML
    status: gr.HTML
    told: gr.HTML

    @property
    def all(self) -> list[Any]:
        return [
            self.body,
            self.words,
            self.prompt,
            *self.answers,
            self.steps,
            self.ask,
            self.aside,
            self.status,
            self.told,
        ]


def draw() -> Opinion:
    with gr.Column(visible=False, elem_id="opinion-body") as body:
        words = page(elem_id="opinion-words")
        prompt = gr.Textbox(label="A question", lines=1, max_lines=8, elem_id="opinion-prompt")
        first = gr.Textbox(label="An answer", lines=2, max_lines=12, elem_id="opinion-first")
        second = gr.Textbox(
            label="Another answer to compare, if you like", lines=2, max_lines=12, elem_id="opinion-second"
        )
        steps = gr.Textbox(
            label="The steps of a solution, one on each line", lines=4, max_lines=24, elem_id="opinion-steps"
        )
        with gr.Row(elem_classes="actions"):
            ask = gr.Button(SCORE, variant="primary", elem_id="opinion-ask")
            publish = gr.Button("Publish to the Hub", elem_id="opinion-publish")
        aside, status = page(elem_id="opinion-aside"), page(elem_id="opinion-status")
        told = page(elem_id="opinion-told")
    publish.click(None, None, None, js="() => { tunesmith.go('publish'); return []; }", **QUIET)
    return Opinion(body, words, prompt, (first, second), steps, ask, aside, status, told)


def wire(parts: Opinion, frame: Frame, worker: Worker) -> None:
    def ask(name: str, prompt: str, first: str, second: str, steps: str) -> Iterator[Updates]:
        run = store.exact(name)
        asked = (
            {"steps": lines(steps)}
            if kind(run) == "step_scores"
            else {"answers": [one for one in (first, second) if one.strip()]}
        )
        busy = {
            parts.aside: "",
            parts.ask: gr.update(interactive=False),
            parts.status: status("Getting the model ready …"),
        }
        yield busy
        idle = {parts.ask: gr.update(interactive=True), parts.status: ""}
        try:
            for part in worker.stream("opinion", run=run.id, prompt=prompt, **asked):
                if "waiting" in part:
                    yield busy | {parts.status: status(part["waiting"])}
                elif "done" in part:
                    yield idle | {parts.aside: "", parts.told: shown(asked, part["done"])}
        except Exception as error:  # said at once with the button given back: of two updates in a row one may be lost
            yield idle | {parts.told: "", parts.aside: said(error, ask)}

    parts.ask.click(steadily(ask, parts.aside), [frame.here, parts.prompt, *parts.answers, parts.steps],
                    [parts.aside, parts.ask, parts.status, parts.told], js=HERE, **QUIET)  # fmt: skip


def kind(run: Run) -> str:
    """What its result does: it writes (causal), scores, or judges steps (step_scores)."""
    return getattr(registry.load("methods", run.spec.method), "MODEL", "causal")


def opened(parts: Opinion, run: Run, story: list[dict[str, Any]], anew: bool) -> Updates:
    """For a run whose result scores: its own kind of boxes, filled with a held-out example. anew: another run was open before."""
    updates = {parts.body: gr.update(visible=True)}
    if not anew:
        return updates
    judges = kind(run) == "step_scores"
    prompt, told = example(run, story)
    first, second = ("", "") if judges else [*told, "", ""][:2]
    return updates | {
        parts.words: f"<p>{WORDS[kind(run)]}</p>",
        parts.prompt: prompt,
        parts.answers[0]: gr.update(value=first, visible=not judges),
        parts.answers[1]: gr.update(value=second, visible=not judges),
        parts.steps: gr.update(value="\n".join(told) if judges else "", visible=judges),
        parts.ask: gr.update(value=JUDGE if judges else SCORE, interactive=True),
        **dict.fromkeys((parts.aside, parts.status, parts.told), ""),
    }


def example(run: Run, story: list[dict[str, Any]]) -> tuple[str, list[str]]:
    """(question, its answers or steps) of the latest test's first held-out example; nothing where there was none."""
    samples = [event for event in story if event["kind"] == "sample"]
    rows = [row for row in store.answers(run, samples[-1]) if row.get("given")] if samples else []
    if not rows:
        return "", []
    prompt = rows[0]["prompt"]
    if "steps" in rows[0]:
        return prompt, rows[0]["steps"]
    return prompt, [row["completion"] for row in rows if row["prompt"] == prompt]


def lines(text: str) -> list[str]:
    return [line for line in text.splitlines() if line.strip()]


def shown(asked: dict[str, list[str]], done: dict[str, list[float]]) -> str:
    if "steps" in done:
        return scores.steps(asked["steps"], done["steps"])
    return scores.scores(asked["answers"], done["scores"])


def status(text: str) -> str:
    return f'<p role="status">{safe(text)}</p>'
