"""Start: where an evening begins: one click to a first try, or a preset to begin from."""

from __future__ import annotations

from dataclasses import dataclass

import gradio as gr

from app.server.error_boundary import QUIET
from app.server.views import pipeline
from app.setup import presets
from components.pipeline import listing
from components.preset_cards import cards
from components.settings import MINUTE
from components.shell import Frame, view
from components.theme import page

PROMISE = (
    "Show it examples, see every token (a piece of a word) that it will learn, watch it learn, and talk to the result."
)
CALM = "With the practice model, which comes with Tunesmith: nothing to download. You look at the examples first; nothing starts by itself."

# The form fills itself, then the same button is pressed that a visitor would press.
TRY = f"""() => {{
  document.dispatchEvent(new CustomEvent('tunesmith:preset', {{ detail: '{MINUTE}' }}));
  setTimeout(() => document.querySelector('#check').click());
}}"""


@dataclass(frozen=True)
class Start:
    """The pieces."""

    minute: gr.Button


def draw(_frame: Frame | None = None) -> Start:
    with view("start", "Teach a model something in a minute", PROMISE):
        minute = gr.Button("Try it in a minute", variant="primary", elem_id="minute")
        page(f'<p class="says">{CALM}</p>')
        cards(presets.every(), pipeline.cards())
        listing(pipeline.newest, "start")
    minute.click(None, None, None, js=TRY, **QUIET)
    return Start(minute)
