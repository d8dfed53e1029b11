"""Progress of the open run as a bar and in words, with its verdict; progress.js draws the events of the stream."""

from __future__ import annotations

import json
from typing import Any

import gradio as gr

from components import scripts
from components.theme import html_block, launch_demo

STATE_TITLES = {
    "new": "Not started yet",
    "waiting": "Waiting for its turn",
    "preparing": "Getting ready",
    "loading": "Loading the model and the examples",
    "training": "Learning",
    "evaluating": "Testing on examples kept aside",
    "saving": "Saving",
    "stopping": "Stopping after this step, then saving",
    "finished": "Finished",
    "stopped": "Stopped and saved",
    "failed": "Failed",
    "lost": "Gone: it ended without a last word",
}
_LOST_TEXT = "The computer may have been restarted, or memory ran out."
_RESUMABLE_TEXT = "What was saved is still there: Resume goes on from step {step}."
_NOTHING_SAVED_TEXT = "Nothing was saved yet, so there is nothing to go on from: it would begin anew."
_NOTHING_LEARNED_TEXT = "Stopped"  # stopped before its first step: there is nothing to save
_DOUBTFUL_TEXT = "Finished, but: {title}"  # with a diagnosis: what ended is not yet a success

_REQUEST_TEXTS = {
    "stop": "You asked to stop: after this step",
    "save": "You asked to save: after this step",
    "resume": "Starting again",
    "again": "Starting again",
    "extend": "Starting again, for more steps",
}

JS = scripts.on_load("progress")
_TEXTS = {
    "states": STATE_TITLES,
    "lost": _LOST_TEXT,
    "resumable": _RESUMABLE_TEXT,
    "nothing": _NOTHING_SAVED_TEXT,
    "unlearned": _NOTHING_LEARNED_TEXT,
    "doubtful": _DOUBTFUL_TEXT,
    "asked": _REQUEST_TEXTS,
}

_SKELETON = """<div class="progress" aria-busy="true">
<h2 class="run-title">Opening the run</h2><p class="of-several" hidden><a class="way">One of several lessons: see them all</a></p>
<div class="track" role="progressbar" aria-label="Training" aria-valuemin="0" aria-valuemax="0" aria-valuenow="0"><i></i></div>
<p class="told"><strong role="status">One moment</strong><span data-told="step"></span><span data-told="left"></span><span data-told="saved"></span><span data-told="asked"></span><span data-told="place"></span></p>
<p class="verdict" role="status" hidden></p><p class="result-step" role="status" hidden></p><div role="status"><ul class="notice"></ul></div></div>"""

_NO_RUN_HTML = """<div class="no-run"><p><strong data-no-run>No run is open.</strong> A run is one training, from its first step to its result.
Here you see how far it is, whether it learns, and what it answers on the way. It goes on when you close this page.</p>
<p><a href="#choose">Choose what to teach</a></p></div>"""


def build_progress(**html_options: Any) -> gr.HTML:
    """The progress of the open run, busy until the stream's first event."""
    return html_block(_SKELETON, js_on_load=JS, texts=_TEXTS, **html_options)


def build_no_run_notice(**html_options: Any) -> gr.HTML:
    """Notice in place of the progress while no run is open."""
    return html_block(_NO_RUN_HTML, **html_options)


def _demo() -> None:
    run_state = {"state": "training", "alive": True, "step": 84, "of": 120, "seconds_left": 14.0, "saved": 60}
    snapshot = {"run": "example", "title": "First tune", "notes": [], "now": run_state}
    build_progress()
    build_no_run_notice()
    script = f"document.dispatchEvent(new CustomEvent('tunesmith:snapshot', {{ detail: {json.dumps(snapshot)} }}))"
    html_block(js_on_load=f"setTimeout(() => {{ {script} }}, 500)")


if __name__ == "__main__":
    launch_demo(_demo)
