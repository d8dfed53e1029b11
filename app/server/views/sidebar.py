"""Side: the way back to the start, the newest runs, and who is signed in with how much disk in use."""

from __future__ import annotations

import json
from dataclasses import dataclass

import gradio as gr

from app.core.problems import Problem
from app.hub import api, identity
from app.runs import cleanup, store
from app.server.error_boundary import QUIET
from components import runs_list
from components.theme import page, safe

BRAND = '<a class="brand" href="#start">Tunesmith</a><a class="new" href="#start">New</a>'
NEWEST = 20


@dataclass(frozen=True)
class Side:
    """The pieces. told: carries the first list to the browser; later ones come with the live stream."""

    told: gr.Textbox
    foot: gr.HTML


def draw() -> Side:
    page(BRAND, elem_id="brand")
    runs_list.side()
    return Side(gr.Textbox(visible="hidden", elem_id="side-told"), page(elem_id="side-foot"))


def wire(demo: gr.Blocks, parts: Side) -> None:
    listed = demo.load(lambda: json.dumps(store.summaries(NEWEST)), None, parts.told, **QUIET)
    listed.then(None, parts.told, None, js=runs_list.TELL_SIDE, **QUIET)
    listed.then(foot, None, parts.foot, **QUIET)


def foot(request: gr.Request) -> str:
    """Who is signed in, and what the runs weigh."""
    disk = cleanup.disk()
    said = (who(request), f"Runs use {in_words(disk['used'])}, {in_words(disk['free'])} are free.")
    return "".join(f"<p>{safe(text)}</p>" for text in said)


def who(request: gr.Request) -> str:
    try:
        found = api.signed_in(identity.person(request).token)
    except Problem as problem:  # a border: the Hub may be away, and the page works without it
        return problem.text
    if found is None:
        return "Not signed in to the Hub."
    if not (found.writes and found.namespaces):  # said now, not after an hour of training
        return f"Signed in to the Hub as {found.name}, with a token that may only read: publishing needs one that may write."
    return f"Signed in to the Hub as {found.name}. You may publish as {' or '.join(found.namespaces)}."


def in_words(count: int) -> str:
    """312 kB, 3.1 MB, 41.0 GB; as runs_list.js says it."""
    if count < 1_000_000:
        return f"{-(-count // 1000)} kB"
    return f"{count / 1e6:.1f} MB" if count < 1e9 else f"{count / 1e9:.1f} GB"
