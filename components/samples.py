"""Answers: what the model said at each test, before it learned and now; answers.js draws what the stream tells."""

from __future__ import annotations

import json
from pathlib import Path

import gradio as gr

from components.theme import alone, page

JS = Path(__file__).with_suffix(".js").read_text(encoding="utf-8")

SKELETON = """<section class="answers" aria-label="Answers so far"><div class="answers-head"><h3>Answers so far</h3>
<div class="answers-way" hidden><button type="button" data-way="back" aria-label="Earlier answers">◂</button>
<input type="range" min="0" max="0" value="0" step="1" aria-label="Step of the answers">
<button type="button" data-way="on" aria-label="Later answers">▸</button><output></output></div></div>
<p class="answers-says">Your own questions first, then some that it never learned from. A question from outside the lesson shows what is forgotten.</p>
<div class="answers-said"><p class="soon">The model answers the same questions before the first step, on the way and at the end.</p></div></section>"""


def answers(**where: object) -> gr.HTML:
    return page(SKELETON, js_on_load=JS, **where)


def example() -> None:
    """What stands there before the first answer: the answers themselves come from a run."""
    answers()
    told = {"run": "example", "samples": [], "names": {}, "now": {}}
    script = f"document.dispatchEvent(new CustomEvent('tunesmith:snapshot', {{ detail: {json.dumps(told)} }}))"
    page(js_on_load=f"setTimeout(() => {{ {script} }}, 500)")


if __name__ == "__main__":
    alone(example)
