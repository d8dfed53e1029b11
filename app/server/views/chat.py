"""Try: one prompt, answered by the model as it was and as it is now."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import gradio as gr

from app.core.problems import Problem
from app.history import metric_labels, summary
from app.hub.model_card import rows_of
from app.runs import store
from app.runs.store import Run
from app.server.error_boundary import QUIET, Updates, safely, said, steadily
from app.server.views import scores
from app.worker.client import Worker
from components import chat
from components.shell import HERE, Frame, view
from components.theme import page, safe

PROMPTS = 6
LONGEST = 256  # tokens of an answer
MEASURE = "Test both on held-out examples"
KEYS = "Enter asks; Shift and Enter begin a new line."
BLIND = '<p class="hint">This model takes pictures too. Here it is asked in words alone; its tests show what it says of pictures.</p>'
FREEDOM = "0 always takes the likeliest next word, so the answer is the same each time. Higher values vary it."


@dataclass(frozen=True)
class Talk:
    """The pieces. shown: the run that the answers on the page belong to, with when its result was made. aside: what is said beside the buttons."""

    opened: gr.Button
    notice: gr.HTML
    head: gr.HTML
    body: gr.Column
    aside: gr.HTML
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
    opinion: scores.Opinion


def draw(_frame: Frame) -> Talk:
    with view("try", "Try", "Ask the model as it was and the model as it is now, and compare.") as parts:
        notice, head = page(elem_id="talk-notice"), page(chat.NO_RUN, elem_id="talk-head")
        chip = gr.Button(
            visible="hidden", elem_id="talk-chip"
        )  # out here: a column that is shown shows all that is in it
        with gr.Column(visible=False, elem_id="talk-body") as body:
            measure = gr.Button(MEASURE, elem_id="talk-measure", visible=False)
            prompt = gr.Textbox(label="Your prompt", info=KEYS, lines=1, max_lines=8, elem_id="talk-prompt")
            with gr.Row(elem_classes="actions"):
                ask = gr.Button("Ask both", variant="primary", elem_id="talk-ask")
                stop = gr.Button("Stop", elem_id="talk-stop", interactive=False)
            aside = page(elem_id="talk-aside")
            prompts = page(elem_id="talk-prompts", js_on_load=chat.JS)
            status = page(elem_id="talk-status")
            answers = page(chat.empty_pair(), elem_id="talk-answers")
            with gr.Accordion("Advanced", open=False):
                temperature = gr.Slider(0, 1.5, 0, step=0.1, label="Temperature", info=FREEDOM, elem_id="talk-freedom")
            with gr.Row(elem_classes="actions"):
                publish = gr.Button("Publish to the Hub", elem_id="talk-publish")
                teach = gr.Button("Teach it more, with your own examples", elem_id="talk-teach")
        scoring = scores.draw()
    teach.click(None, None, None, js=chat.TEACH, **QUIET)
    return Talk(parts.opened, notice, head, body, aside, prompt, ask, chip, stop, measure, prompts, status, answers, temperature, publish,
                gr.State(None), scoring)  # fmt: skip


def wire(parts: Talk, frame: Frame, worker: Worker) -> None:
    scores.wire(parts.opinion, frame, worker)

    def arrive(name: str, shown: Any) -> Updates:
        return idle(parts) | opened(parts, name, shown)

    def ask(name: str, prompt: str, temperature: float) -> Iterator[Updates]:
        if not prompt.strip():
            raise Problem("There is nothing to ask yet.", advice="Type a prompt, or take one of the list.")
        run = store.exact(name)
        asked = chat.Asked(prompt, goes_on(run))
        begun = {parts.aside: "", parts.ask: gr.update(interactive=False), parts.stop: gr.update(interactive=True)}
        yield begun | {
            parts.prompt: prompt,
            parts.answers: chat.pair({}, asked=asked),
            parts.status: status("Getting both models ready …"),
        }
        try:
            stream = worker.talk(run.id, prompt, longest=LONGEST, temperature=temperature)
            yield from (begun | news for news in told(parts, stream, asked))
        except Exception as error:  # said at once with the buttons given back: of two updates in a row one may be lost
            yield (
                begun
                | idle(parts)
                | {parts.answers: chat.empty_pair(), parts.status: "", parts.aside: said(error, ask)}
            )

    def measure(name: str) -> Iterator[Updates]:
        yield {parts.aside: "", parts.measure: gr.update(interactive=False, value="Testing both …")}
        try:
            run = store.exact(name)
            for part in worker.stream("scores", run=run.id):
                if "waiting" in part:
                    yield {parts.status: status(part["waiting"])}
                elif "done" in part:
                    hidden = gr.update(visible=False)
                    yield {parts.head: measured(run, part["done"]), parts.measure: hidden, parts.status: ""}
        except Exception as error:  # as above
            yield {parts.aside: said(error, measure), parts.measure: gr.update(interactive=True, value=MEASURE)}

    events = [parts.ask.click, parts.prompt.submit, parts.chip.click]
    written = [parts.aside, parts.prompt, parts.answers, parts.status, parts.ask, parts.stop, parts.publish]
    asked = gr.on(events, steadily(ask, parts.aside), [frame.here, parts.prompt, parts.temperature], written,
                  js=chat.ASKED, trigger_mode="multiple", **QUIET)  # fmt: skip
    parts.stop.click(lambda: idle(parts) | {parts.status: status("Stopped.")}, None, written, cancels=[asked], **QUIET)
    tested = parts.measure.click(
        steadily(measure, parts.aside),
        frame.here,
        [parts.aside, parts.head, parts.measure, parts.status],
        js=HERE,
        **QUIET,
    )
    parts.opened.click(
        safely(arrive, parts.notice), [frame.here, parts.shown],
        [*written, parts.notice, parts.head, parts.body, parts.prompts, parts.measure, parts.shown, *parts.opinion.all], cancels=[asked, tested], js=HERE, trigger_mode="multiple", **QUIET)  # fmt: skip
    parts.publish.click(None, None, None, js="() => { tunesmith.go('publish'); return []; }", **QUIET)


def idle(parts: Talk) -> Updates:
    """Nobody is answering."""
    return {parts.ask: gr.update(interactive=True), parts.stop: gr.update(interactive=False)}


def next_step(parts: Talk, answered: bool) -> Updates:
    """The dark button: to ask, and once that was answered, to publish."""
    ask, publish = ("secondary", "primary") if answered else ("primary", "secondary")
    return {parts.ask: gr.update(interactive=True, variant=ask), parts.publish: gr.update(variant=publish)}


def goes_on(run: Run) -> bool:
    """Whether its prompts are beginnings of texts, not questions."""
    return store.load_json(run.path / "facts.json").get("chat") is False


def opened(parts: Talk, name: str, shown: Any) -> Updates:
    """The run that the address names. Answers stay when one comes back to the same result."""
    try:
        run = store.exact(name)
    except Problem:  # none is open, or it was deleted: this view says how to come by one
        return nothing(parts, chat.NO_RUN)
    if not run.adapter.is_dir():
        return nothing(parts, chat.no_result(store.title(run), store.alive(run)))
    this = [run.id, run.adapter.stat().st_mtime_ns]
    story = summary.glance(run.events)
    updates = {parts.head: head(run, story) + blind(run), parts.shown: this, parts.aside: ""}
    if scores.kind(run) != "causal":
        return updates | {parts.body: gr.update(visible=False)} | scores.opened(parts.opinion, run, story, anew=this != shown)  # fmt: skip
    updates |= {parts.body: gr.update(visible=True), parts.opinion.body: gr.update(visible=False)}
    if this == shown:
        return updates
    return updates | next_step(parts, answered=False) | {
        parts.prompts: chat.prompts(questions(run, story)), parts.prompt: "", parts.answers: chat.empty_pair(), parts.status: "",
        parts.measure: gr.update(visible=testable(run, story), interactive=True, value=MEASURE),
    }  # fmt: skip


def blind(run: Run) -> str:
    """A word to who would show this model a picture."""
    return BLIND if (store.load_json(run.path / "facts.json").get("model") or {}).get("sees") else ""


def nothing(parts: Talk, why: str) -> Updates:
    hidden = gr.update(visible=False)
    return {parts.head: why, parts.body: hidden, parts.opinion.body: hidden, parts.shown: None}


def head(run: Run, story: list[dict[str, Any]]) -> str:
    name, before, after = summary.compared(story) or ("", "", "")
    return chat.score(store.title(run), metric_labels.measures(run.spec.to_dict()).get(name, name), before, after)


def testable(run: Run, story: list[dict[str, Any]]) -> bool:
    """There are held-out examples that its own tests did not compare."""
    kept = store.load_json(run.path / "facts.json").get("data", {}).get("held_out")
    return summary.compared(story) is None and bool(kept)


def measured(run: Run, scores: dict[str, Any]) -> str:
    """The same line, from a test made now."""
    named = [{"kind": "eval", "metrics": {f"eval/{name}": value for name, value in scores[who].items()}} for who in ("base", "tuned")]  # fmt: skip
    return head(run, named)


def questions(run: Run, story: list[dict[str, Any]]) -> list[str]:
    """The setup's own prompts, then some that were asked in tests, on held-out examples."""
    samples = [event for event in story if event["kind"] == "sample"]
    asked = rows_of(run, samples[-1]) if samples else {}
    return list(dict.fromkeys([*run.spec.prompts, *asked]))[:PROMPTS]


def told(parts: Talk, stream: Iterator[dict[str, Any]], asked: chat.Asked) -> Iterator[Updates]:
    """Both answers as they grow; what the worker says at the end is the truth."""
    texts: dict[str, str] = {}
    for part in stream:
        if "waiting" in part:
            yield {parts.status: status(part["waiting"])}
        elif "done" in part:
            ended = part["done"]
            texts = {who: one["text"] for who, one in ended.items()}
            yield (
                idle(parts)
                | next_step(parts, answered=True)
                | {
                    parts.answers: chat.pair(texts, ended, asked),
                    parts.status: status("Both have answered."),
                }
            )
        else:
            texts[part["who"]] = texts.get(part["who"], "") + part["text"]
            yield {parts.answers: chat.pair(texts, asked=asked), parts.status: status("Answering …")}


def status(text: str) -> str:
    return f'<p role="status">{safe(text)}</p>'
