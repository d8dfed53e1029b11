"""Runs: every run, and what can be done to each: open, rename, share, repeat, tidy, delete."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass

import gradio as gr

from app.runs import cleanup, store
from app.server.error_boundary import QUIET, Updates, safely
from app.server.views import pipeline
from app.server.views.choose import Choose, fill
from app.server.views.sidebar import in_words
from app.setup import links
from components import notices, runs_list
from components.pipeline import listing
from components.shell import Frame, view
from components.theme import page


@dataclass(frozen=True)
class Runs:
    """The pieces. told, code and place carry a list, a link's code and a view's name to the browser; text carries a title from it."""

    opened: gr.Button
    notice: gr.HTML
    told: gr.Textbox
    code: gr.Textbox
    place: gr.Textbox
    text: gr.Textbox
    deeds: dict[str, gr.Button]


def draw(_frame: Frame) -> Runs:
    with view("runs", "Runs", "Everything you have trained, newest first. A run is a folder on this machine.") as parts:
        notice = page(elem_id="runs-notice")
        listing(pipeline.newest, "runs")
        runs_list.everything()
        hidden = {
            name: gr.Textbox(visible="hidden", elem_id=f"runs-{name}") for name in ("told", "code", "place", "text")
        }
        names = ("rename", "link", "again", "tidy", "delete")
        deeds = {name: gr.Button(visible="hidden", elem_id=f"runs-{name}") for name in names}
    return Runs(parts.opened, notice, **hidden, deeds=deeds)


def wire(parts: Runs, frame: Frame, choose: Choose) -> None:
    def everything() -> Updates:
        return {parts.told: json.dumps(store.summaries())}

    def rename(name: str, title: str) -> Updates:
        cleanup.rename(store.find(name), title)
        return everything()

    def tidy(name: str, _: str) -> Updates:
        freed = cleanup.tidy(store.find(name))
        said = f"Freed {in_words(freed)}." if freed else "Only the best and the last checkpoint are there already."
        return everything() | {parts.notice: notices.note(said)}

    def delete(name: str, _: str) -> Updates:
        run = store.find(name)
        title = store.summary(run, alive=False)["title"]
        return {
            parts.notice: notices.note(f"“{title}” is deleted. Freed {in_words(store.delete(run))}.")
        } | everything()

    def link(name: str, _: str) -> Updates:
        return {parts.code: links.encode(store.find(name).spec)}

    def again(name: str, _: str) -> Updates:
        return fill(choose, store.find(name).spec) | {parts.place: "choose"}

    parts.opened.click(safely(everything, parts.notice), None, [parts.notice, parts.told], **QUIET).then(
        None, parts.told, None, js=runs_list.TELL_PAGE, **QUIET
    )
    carried = {"rename": (rename, parts.told, runs_list.TELL_PAGE), "tidy": (tidy, parts.told, runs_list.TELL_PAGE),
               "delete": (delete, parts.told, runs_list.TELL_PAGE), "link": (link, parts.code, runs_list.COPY),
               "again": (again, parts.place, "(place) => place && tunesmith.go(place)")}  # fmt: skip
    for name, (deed, carrier, js) in carried.items():
        more = choose.filled if name == "again" else []
        asked = parts.deeds[name].click(
            cleared(safely(deed, parts.notice), carrier), [frame.here, parts.text], [parts.notice, carrier, *more],
            js=runs_list.ASKED, **QUIET)  # fmt: skip
        asked.then(None, carrier, None, js=js, **QUIET)


def cleared(handler: Callable[..., Updates], carrier: gr.Textbox) -> Callable[..., Updates]:
    """A deed that is refused carries nothing to the browser, also not what an earlier one left."""
    return lambda *values: {carrier: ""} | handler(*values)
