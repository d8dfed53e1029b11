"""Progress: how far the open run is, in a bar and in words, with its verdict; progress.js draws what the stream tells."""

from __future__ import annotations

import json
from pathlib import Path

import gradio as gr

from components.theme import alone, page, safe

STATES = {
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
LOST = "The computer may have been restarted, or memory ran out."
RESUMABLE = "What was saved is still there: Resume goes on from step {step}."
NOTHING_SAVED = "Nothing was saved yet, so there is nothing to go on from: it would begin anew."
NOTHING_LEARNED = "Stopped"  # before its first step: there is nothing to save

ASKED = {
    "stop": "You asked to stop: after this step",
    "save": "You asked to save: after this step",
    "resume": "Starting again",
    "again": "Starting again",
}

JS = Path(__file__).with_suffix(".js").read_text(encoding="utf-8")
WORDS = {
    "states": STATES,
    "lost": LOST,
    "resumable": RESUMABLE,
    "nothing": NOTHING_SAVED,
    "unlearned": NOTHING_LEARNED,
    "asked": ASKED,
}

SKELETON = f"""<div class="progress" aria-busy="true" data-words="{safe(json.dumps(WORDS))}">
<h2 class="run-title">Opening the run</h2><p class="of-several" hidden><a class="way">One of several lessons: see them all</a></p>
<div class="track" role="progressbar" aria-label="Training" aria-valuemin="0" aria-valuemax="0" aria-valuenow="0"><i></i></div>
<p class="told"><strong role="status">One moment</strong><span data-told="step"></span><span data-told="left"></span><span data-told="saved"></span><span data-told="asked"></span></p>
<p class="verdict" role="status" hidden></p><div role="status"><ul class="notice"></ul></div></div>"""

EMPTY = """<div class="no-run"><p><strong data-no-run>No run is open.</strong> A run is one training, from its first step to its result.
Here you see how far it is, whether it learns, and what it answers on the way. It goes on when you close this page.</p>
<p><a href="#choose">Choose what to teach</a></p></div>"""


def duration(seconds: float) -> str:
    """14 s, 3 min, 2 h 5 min."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60} min"


def progress(**where: object) -> gr.HTML:
    return page(SKELETON, js_on_load=JS, **where)


def empty(**where: object) -> gr.HTML:
    """What stands there while no run is open."""
    return page(EMPTY, **where)


def example() -> None:
    now = {"state": "training", "alive": True, "step": 84, "of": 120, "left": 14.0, "saved": 60}
    told = {"run": "example", "title": "First tune", "notes": [], "now": now}
    progress()
    empty()
    script = f"document.dispatchEvent(new CustomEvent('tunesmith:snapshot', {{ detail: {json.dumps(told)} }}))"
    page(js_on_load=f"setTimeout(() => {{ {script} }}, 500)")


if __name__ == "__main__":
    alone(example)
