"""Sampled completions at each evaluation; samples.js draws the events of the stream."""

from __future__ import annotations

import json
from typing import Any

import gradio as gr

from components import scripts
from components.theme import html_block, launch_demo

JS = scripts.on_load("samples")

_SKELETON = """<section class="answers" aria-label="Answers so far"><div class="answers-head"><h3>Answers so far</h3>
<div class="answers-way" hidden><button type="button" data-way="back" aria-label="Earlier answers">◂</button>
<input type="range" min="0" max="0" value="0" step="1" aria-label="Step of the answers">
<button type="button" data-way="on" aria-label="Later answers">▸</button><output></output></div></div>
<p class="answers-says">Your own questions first, then some that it never learned from. A question from outside the lesson shows what is forgotten.</p>
<div class="answers-said"><p class="soon">The model answers the same questions before the first step, on the way and at the end.</p></div></section>"""


def build_samples(**html_options: Any) -> gr.HTML:
    """The completions, empty until the stream's first sample."""
    return html_block(_SKELETON, js_on_load=JS, **html_options)


def _demo() -> None:
    """The state before the first completion: completions come from a run."""
    build_samples()
    snapshot = {"run": "example", "samples": [], "names": {}, "now": {}}
    script = f"document.dispatchEvent(new CustomEvent('tunesmith:snapshot', {{ detail: {json.dumps(snapshot)} }}))"
    html_block(js_on_load=f"setTimeout(() => {{ {script} }}, 500)")


if __name__ == "__main__":
    launch_demo(_demo)
