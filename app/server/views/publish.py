"""Publish: a result goes to the Hub, with its card, private unless asked otherwise."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import gradio as gr

from app.core.problems import Problem
from app.hub import api, identity, model_card, publish_job
from app.hub.publish_job import Push
from app.runs import store
from app.runs.store import Run
from app.server.error_boundary import QUIET, Updates, safely, said, steadily
from components import chat, publish
from components.shell import HERE, Frame, view
from components.theme import page, safe

NO_RUN = f'<div class="empty"><p>Here a result goes to the Hugging Face Hub, where others can load it. First there must be one.</p><p>{chat.START}</p></div>'
SHUT = {"interactive": False}
SETUP = re.compile(r"<details>.*?</details>", re.DOTALL)
SETUP_IN_WORDS = "(Here the card holds the whole setup, as a program reads it.)"


@dataclass(frozen=True)
class Publish:
    """The pieces. fixed: offers a name the Hub takes in place of one that it does not."""

    opened: gr.Button
    notice: gr.HTML
    head: gr.HTML
    body: gr.Column
    who: gr.HTML
    again: gr.Button
    owner: gr.Dropdown
    name: gr.Textbox
    fixed: gr.Button
    private: gr.Checkbox
    push: gr.Button
    progress: gr.HTML
    done: gr.HTML
    preview: gr.Accordion
    card: gr.HTML


def draw(_frame: Frame) -> Publish:
    with view("publish", "Publish", "The Hub keeps the result with a card that says how it was made. Nothing is sent before you press the button.") as parts:  # fmt: skip
        notice, head = page(elem_id="publish-notice"), page(NO_RUN, elem_id="publish-title")
        with gr.Column(visible=False, elem_id="publish-body") as body:
            done = page(elem_id="publish-done", js_on_load=publish.JS)
            who = page(elem_id="publish-who")
            with gr.Row(elem_classes="actions"):
                again = gr.Button("Look again", visible=False, elem_id="publish-again")
            with gr.Row(elem_id="publish-fields"):
                owner = gr.Dropdown([], label="Owner", elem_id="publish-owner", filterable=False)
                name = gr.Textbox(label="Name", elem_id="publish-name", max_lines=1)
            fixed = gr.Button(visible=False, elem_id="publish-fixed")
            private = gr.Checkbox(
                True, label="Private: only you and whom you let in can see it", elem_id="publish-private"
            )
            with gr.Accordion("The card that goes with it", open=False, elem_id="publish-preview") as preview:
                text = page(elem_id="publish-card")
            progress = page(elem_id="publish-progress")
            with gr.Row(elem_classes="actions"):
                push = gr.Button("Publish to the Hub", variant="primary", elem_id="publish-push", **SHUT)
    return Publish(
        parts.opened, notice, head, body, who, again, owner, name, fixed, private, push, progress, done, preview, text
    )


def wire(parts: Publish, frame: Frame) -> None:
    def arrive(name: str, request: gr.Request, looked: str = "") -> Iterator[Updates]:
        try:
            run = store.exact(name)
        except Problem:  # none is open, or it was deleted: this view says how to come by one
            yield nothing(parts, NO_RUN)
            return
        if not run.adapter.is_dir():
            yield nothing(parts, chat.no_result(store.title(run), store.alive(run)))
            return
        known = welcome(parts, run)
        yield known
        known |= signed_in(parts, run, identity.person(request).token, looked)
        yield known  # with what was said before: a browser may draw only the last of two that come at once
        going = publish_job.ongoing(run)
        if going:
            yield from (known | news for news in told(parts, going))

    def look_again(name: str, request: gr.Request) -> Iterator[Updates]:
        yield from arrive(name, request, looked=time.strftime("%H:%M"))

    def send(name: str, owner: str | None, title: str, private: bool, request: gr.Request) -> Iterator[Updates]:
        run, token = store.exact(name), identity.person(request).token
        begun = {parts.notice: "", parts.push: gr.update(**SHUT), parts.fixed: offer(title)}
        try:
            push = publish_job.start(run, f"{owner}/{title.strip()}", private, token)
            yield from (begun | news for news in told(parts, push))
        except Exception as error:  # said at once with the button given back: of two updates in a row one may be lost
            again = {parts.push: gr.update(interactive=True), parts.progress: "", parts.notice: said(error, send)}
            yield begun | again

    def show_card(name: str, owner: str | None, title: str) -> Updates:
        about = model_card.About(repo=f"{owner or 'OWNER'}/{title.strip()}", page=identity.address())
        text = SETUP.sub(SETUP_IN_WORDS, model_card.card(store.exact(name), about))
        return {parts.card: f"<pre>{safe(text)}</pre>"}

    everything = [parts.notice, parts.head, parts.body, parts.who, parts.again, parts.owner, parts.name, parts.fixed, parts.private,
                  parts.push, parts.progress, parts.done, parts.card]  # fmt: skip
    for button, deed in ((parts.opened, arrive), (parts.again, look_again)):
        button.click(steadily(deed, parts.notice), frame.here, everything, js=HERE, **QUIET)
    parts.push.click(
        steadily(send, parts.notice), [frame.here, parts.owner, parts.name, parts.private], everything, js=HERE, **QUIET
    )
    parts.name.blur(offer, parts.name, parts.fixed, **QUIET)
    parts.fixed.click(lambda title: {parts.name: api.repo_name(title), parts.fixed: gr.update(visible=False), parts.notice: ""},
                      parts.name, [parts.name, parts.fixed, parts.notice], **QUIET)  # fmt: skip
    parts.preview.expand(
        safely(show_card, parts.notice),
        [frame.here, parts.owner, parts.name],
        [parts.notice, parts.card],
        js=HERE,
        **QUIET,
    )


def nothing(parts: Publish, why: str) -> Updates:
    return {parts.head: why, parts.body: gr.update(visible=False)}


def welcome(parts: Publish, run: Run) -> Updates:
    """What can be said before the Hub is asked."""
    return {parts.head: f"<p>{safe(store.title(run))}</p>", parts.body: gr.update(visible=True), parts.done: where(run), parts.card: "",
            parts.who: '<p class="who">Asking the Hub who you are …</p>', parts.again: gr.update(visible=False),
            parts.name: api.repo_name(store.title(run)), parts.fixed: gr.update(visible=False), parts.push: gr.update(**SHUT),
            parts.progress: ""}  # fmt: skip


def where(run: Run) -> str:
    """Where it is published already, if it is."""
    kept = publish_job.place(run)
    return publish.published(kept, publish_job.snippet(run, kept["repo"])) if kept else ""


def signed_in(parts: Publish, run: Run, token: str | None, looked: str = "") -> Updates:
    """Who publishes, and where to. The last place of this run is offered first. looked: when somebody asked again."""
    try:
        who = api.signed_in(token)
    except Problem as problem:  # a border: the Hub is away, or refuses the token
        again = f" Looked at {looked}." if looked else ""
        return {
            parts.who: f'<p class="who careful" role="status">{safe(problem)}{again}</p>',
            parts.again: gr.update(visible=True),
        }
    if who is None:
        return {parts.who: publish.nobody(run.adapter, looked), parts.again: gr.update(visible=True)}
    kept = publish_job.place(run)
    owner, _, name = kept["repo"].partition("/") if kept else (who.name, "", "")
    known = owner in who.namespaces
    return {
        parts.who: publish.somebody(who.name, who.writes, identity.in_space()), parts.again: gr.update(visible=not who.writes),
        parts.owner: gr.update(choices=list(who.namespaces), value=owner if known else who.name),
        parts.push: gr.update(interactive=who.writes, value="Publish again" if kept else "Publish to the Hub"),
    } | ({parts.name: name, parts.private: kept["private"]} if kept and known else {})  # fmt: skip


def told(parts: Publish, push: Push) -> Iterator[Updates]:
    """How far a push is, then where it went."""
    for news in push.follow():
        yield {parts.push: gr.update(**SHUT), parts.progress: publish.bar(**news)}
    yield {parts.progress: "", parts.done: where(push.run), parts.push: gr.update(interactive=True, value="Publish again")}  # fmt: skip


def offer(title: str) -> dict[str, Any]:
    """The nearest name that the Hub takes, on a button; hidden when the name is fine."""
    fixed = api.repo_name(title)
    fine = fixed == title.strip() or not title.strip() or api.NAME.fullmatch(title.strip())
    return gr.update(visible=not fine, value=f"Use “{fixed}”")
