"""Journey: several lessons as one way, drawn in the browser from what the page tells of them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import gradio as gr

from components.theme import alone, page

JS = Path(__file__).with_suffix(".js").read_text(encoding="utf-8")
LISTING = Path(__file__).with_name("pipelines.js").read_text(encoding="utf-8")

SKELETON = """<section class="journey" aria-busy="true">
<div class="words"><h1 tabindex="-1">Several lessons</h1><p class="does"></p></div>
<p class="takes quiet"></p><p class="now" role="status">One moment</p>
<div class="deeds"><button type="button" class="button primary" data-deed="start" hidden>Start the journey</button>
<button type="button" class="button primary" data-deed="go_on" hidden>Go on</button>
<button type="button" class="button primary" data-deed="stop" hidden>Stop and save</button>
<a class="button primary try" hidden>Try the last result</a></div>
<div class="refused"></div>
<h2>The lessons</h2><ol class="path"></ol>
<h2>How they compare</h2><p class="asked quiet"></p><div class="compared" hidden></div>
<p class="away"><button type="button" class="button" data-deed="forget" hidden>Remove this journey</button>
<span class="sure" hidden><span>Its lessons stay among your runs; the way and this comparison will be gone.</span>
<button type="button" class="button" data-deed="sure">Remove it</button> <button type="button" class="button" data-deed="keep">Keep it</button></span></p></section>
<div class="empty" hidden><p>No journey is open. A journey is several lessons, each building on what the one before has learned.</p>
<p><a class="button" href="#start">Choose one on the first page</a></p></div>"""


def journey(*asked: Callable[..., Any]) -> gr.HTML:
    """One of them. asked: look(name), start(name), go_on(id), stop(id), forget(id), see app/server/views/pipeline.py."""
    return page(SKELETON, elem_id="journey", js_on_load=JS, server_functions=list(asked))


def listing(newest: Callable[..., Any], where: str, **more: Any) -> gr.HTML:
    """The latest of them, in a line each, while the view called `where` is open; nothing where there is none."""
    drawn = f'<section class="journeys" data-where="{where}" hidden><h2>Journeys</h2><ul></ul></section>'
    return page(drawn, js_on_load=LISTING, server_functions=[newest], **more)


if __name__ == "__main__":
    alone(journey)
