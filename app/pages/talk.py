"""Try: one prompt, answered by the model as it was and as it is now."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import gradio as gr

from app import outcome, runs
from app.card import rows_of
from app.pages.border import QUIET, Updates, safely, said, steadily
from app.preview import Worker
from app.problems import Problem
from app.runs import Run
from components import talk
from components.look import page, safe
from components.shell import HERE, Frame, view

PROMPTS = 6
LONGEST = 256  # tokens of an answer
MEASURE = "Test both on held-out examples"
FREEDOM = "0 always takes the likeliest next word, so the answer is the same each time. Higher values vary it."


@dataclass(frozen=True)
class Talk:
    """The pieces. shown: the run that the answers on the page belong to, with when its result was made."""

    opened: gr.Button
    notice: gr.HTML
    head: gr.HTML
    body: gr.Column
    prompt: gr.Textbox
    ask: gr.Button
    chip: gr.Button
    stop: gr.Button
    measure: gr.Button
    prompts: gr.HTML
    status: gr.HTML
    answers: gr.HTML
    temperature: gr.Slider
    publish: gr.Button
    shown: gr.State


def draw(_frame: Frame) -> Talk:
    with view("try", "Try", "Ask the model as it was and the model as it is now, and compare.") as parts:
        notice, head = page(elem_id="talk-notice"), page(talk.NO_RUN, elem_id="talk-head")
        with gr.Column(visible=False, elem_id="talk-body") as body:
            measure = gr.Button(MEASURE, elem_id="talk-measure", visible=False)
            prompt = gr.Textbox(label="Your prompt", lines=2, max_lines=8, elem_id="talk-prompt", submit_btn=False)
            with gr.Row(elem_classes="actions"):
                ask = gr.Button("Ask both", elem_id="talk-ask")
                stop = gr.Button("Stop", elem_id="talk-stop", interactive=False)
                chip = gr.Button(visible="hidden", elem_id="talk-chip")
            prompts = page(elem_id="talk-prompts", js_on_load=talk.JS)
            status = page(elem_id="talk-status")
            answers = page(talk.empty_pair(), elem_id="talk-answers")
            with gr.Accordion("Advanced", open=False):
                temperature = gr.Slider(0, 1.5, 0, step=0.1, label="Temperature", info=FREEDOM, elem_id="talk-freedom")
            with gr.Row(elem_classes="actions"):
                publish = gr.Button("Publish to the Hub", variant="primary", elem_id="talk-publish")
                page('<a class="button" href="#choose">Teach it your own examples</a>')
    return Talk(parts.opened, notice, head, body, prompt, ask, chip, stop, measure, prompts, status, answers, temperature, publish,
                gr.State(None))  # fmt: skip


def wire(parts: Talk, frame: Frame, worker: Worker) -> None:
    def arrive(name: str, shown: Any) -> Updates:
        return idle(parts) | opened(parts, name, shown)

    def ask(name: str, prompt: str, temperature: float) -> Iterator[Updates]:
        if not prompt.strip():
            raise Problem("There is nothing to ask yet.", advice="Type a prompt, or take one of the list.")
        begun = {parts.notice: "", parts.ask: gr.update(interactive=False), parts.stop: gr.update(interactive=True)}
        yield begun | {
            parts.prompt: prompt,
            parts.answers: talk.pair({}),
            parts.status: status("Getting both models ready …"),
        }
        try:
            stream = worker.talk(runs.exact(name).id, prompt, longest=LONGEST, temperature=temperature)
            yield from (begun | news for news in told(parts, stream))
        except Exception as error:  # said at once with the buttons given back: of two updates in a row one may be lost
            yield (
                begun
                | idle(parts)
                | {parts.answers: talk.empty_pair(), parts.status: "", parts.notice: said(error, ask)}
            )

    def measure(name: str) -> Iterator[Updates]:
        yield {parts.notice: "", parts.measure: gr.update(interactive=False, value="Testing both …")}
        try:
            run = runs.exact(name)
            for part in worker.stream("scores", run=run.id):
                if "waiting" in part:
                    yield {parts.status: status(part["waiting"])}
                elif "done" in part:
                    hidden = gr.update(visible=False)
                    yield {parts.head: measured(run, part["done"]), parts.measure: hidden, parts.status: ""}
        except Exception as error:  # as above
            yield {parts.notice: said(error, measure), parts.measure: gr.update(interactive=True, value=MEASURE)}

    events = [parts.ask.click, parts.prompt.submit, parts.chip.click]
    written = [parts.notice, parts.prompt, parts.answers, parts.status, parts.ask, parts.stop]
    asked = gr.on(events, steadily(ask, parts.notice), [frame.here, parts.prompt, parts.temperature], written,
                  js=talk.ASKED, trigger_mode="multiple", **QUIET)  # fmt: skip
    parts.stop.click(lambda: idle(parts) | {parts.status: status("Stopped.")}, None, written, cancels=[asked], **QUIET)
    tested = parts.measure.click(
        steadily(measure, parts.notice),
        frame.here,
        [parts.notice, parts.head, parts.measure, parts.status],
        js=HERE,
        **QUIET,
    )
    parts.opened.click(
        safely(arrive, parts.notice), [frame.here, parts.shown],
        [*written, parts.head, parts.body, parts.prompts, parts.measure, parts.shown], cancels=[asked, tested], js=HERE, trigger_mode="multiple", **QUIET)  # fmt: skip
    parts.publish.click(None, None, None, js="() => { tunesmith.go('publish'); return []; }", **QUIET)


def idle(parts: Talk) -> Updates:
    """Nobody is answering."""
    return {parts.ask: gr.update(interactive=True), parts.stop: gr.update(interactive=False)}


def opened(parts: Talk, name: str, shown: Any) -> Updates:
    """The run that the address names. Answers stay when one comes back to the same result."""
    try:
        run = runs.exact(name)
    except Problem:  # none is open, or it was deleted: this view says how to come by one
        return nothing(parts, talk.NO_RUN)
    if not run.adapter.is_dir():
        return nothing(parts, talk.no_result(runs.title(run), runs.alive(run)))
    this = [run.id, run.adapter.stat().st_mtime_ns]
    story = outcome.glance(run.events)
    updates = {parts.head: head(run, story), parts.body: gr.update(visible=True), parts.shown: this}
    if this == shown:
        return updates
    return updates | {
        parts.prompts: talk.prompts(questions(run, story)), parts.prompt: "", parts.answers: talk.empty_pair(), parts.status: "",
        parts.measure: gr.update(visible=testable(run, story), interactive=True, value=MEASURE),
    }  # fmt: skip


def nothing(parts: Talk, why: str) -> Updates:
    return {parts.head: why, parts.body: gr.update(visible=False), parts.shown: None}


def head(run: Run, story: list[dict[str, Any]]) -> str:
    return talk.score(runs.title(run), *(outcome.compared(story) or ("", "", "")))


def testable(run: Run, story: list[dict[str, Any]]) -> bool:
    """There are held-out examples that its own tests did not compare."""
    kept = runs.load_json(run.path / "facts.json").get("data", {}).get("held_out")
    return outcome.compared(story) is None and bool(kept)


def measured(run: Run, scores: dict[str, Any]) -> str:
    """The same line, from a test made now."""
    named = [{"kind": "eval", "metrics": {f"eval/{name}": value for name, value in scores[who].items()}} for who in ("base", "tuned")]  # fmt: skip
    return head(run, named)


def questions(run: Run, story: list[dict[str, Any]]) -> list[str]:
    """The setup's own prompts, then some that were asked in tests, on held-out examples."""
    samples = [event for event in story if event["kind"] == "sample"]
    asked = rows_of(run, samples[-1]) if samples else {}
    return list(dict.fromkeys([*run.spec.prompts, *asked]))[:PROMPTS]


def told(parts: Talk, stream: Iterator[dict[str, Any]]) -> Iterator[Updates]:
    """Both answers as they grow; what the worker says at the end is the truth."""
    texts: dict[str, str] = {}
    for part in stream:
        if "waiting" in part:
            yield {parts.status: status(part["waiting"])}
        elif "done" in part:
            ended = part["done"]
            texts = {who: one["text"] for who, one in ended.items()}
            yield idle(parts) | {parts.answers: talk.pair(texts, ended), parts.status: status("Both have answered.")}
        else:
            texts[part["who"]] = texts.get(part["who"], "") + part["text"]
            yield {parts.answers: talk.pair(texts), parts.status: status("Answering …")}


def status(text: str) -> str:
    return f'<p role="status">{safe(text)}</p>'
