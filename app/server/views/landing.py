"""The landing view: two ways in, a trial and one's own examples, then presets and pipelines to start from, and the latest pipeline runs."""

from __future__ import annotations

from dataclasses import dataclass

import gradio as gr

from app.planning import presets
from app.server.error_boundary import EVENT_OPTIONS
from app.server.views import pipeline
from components.own_examples import build_own_examples
from components.pipeline import build_pipeline_run_list
from components.preset_cards import TRY_FIRST_PRESET_JS, build_preset_cards
from components.shell import build_view
from components.theme import html_block

_INTRODUCTION = (
    "Show it examples, see every token (a piece of a word) that it will learn, watch it learn, and talk to the result."
)
_TRIAL = "With the practice model and a sample, which come with Tunesmith: nothing to download. You look at the examples first; nothing starts by itself."


@dataclass(frozen=True)
class LandingView:
    """Components of the view."""

    try_button: gr.Button


def build_landing_view() -> LandingView:
    """Builds the view."""
    with build_view("start", "Teach a model something in a minute", _INTRODUCTION):
        with gr.Row(elem_id="ways-in"):
            with gr.Column(elem_classes="way-in"):
                html_block(f"<h2>See how it goes</h2><p>{_TRIAL}</p>")
                try_button = gr.Button("Try it in a minute", variant="primary", elem_id="minute")
            with gr.Column(elem_classes="way-in"):
                build_own_examples()
        build_preset_cards(presets.list_presets(), pipeline.pipeline_cards())
        build_pipeline_run_list(pipeline.list_newest_pipeline_runs, "start")
    try_button.click(None, None, None, js=TRY_FIRST_PRESET_JS, **EVENT_OPTIONS)
    return LandingView(try_button)
