"""View of a pipeline run and list of pipeline runs, both drawn in the browser."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import gradio as gr

from components import scripts
from components.theme import html_block, launch_demo

JS = scripts.on_load("pipeline")
LISTING = scripts.on_load("pipelines")

_SKELETON = """<section class="journey" aria-busy="true">
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


def build_pipeline_run(*server_functions: Callable[..., Any]) -> gr.HTML:
    """View of one pipeline or pipeline run.

    server_functions: inspect_pipeline(name), start_pipeline(name), resume_pipeline_run(id), stop_pipeline_run(id),
    delete_pipeline_run(id) of app/server/views/pipeline.py.
    """
    return html_block(_SKELETON, elem_id="journey", js_on_load=JS, server_functions=list(server_functions))


def build_pipeline_run_list(list_newest: Callable[..., Any], view_name: str, **html_options: Any) -> gr.HTML:
    """List of the newest pipeline runs, filled while the view `view_name` is open; hidden when there is none."""
    content = f'<section class="journeys" data-where="{view_name}" hidden><h2>Journeys</h2><ul></ul></section>'
    return html_block(content, js_on_load=LISTING, server_functions=[list_newest], **html_options)


if __name__ == "__main__":
    launch_demo(build_pipeline_run)
