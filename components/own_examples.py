"""The way in with a person's own examples: a place for a file, which the form of Choose then uploads and reads."""

from __future__ import annotations

from typing import Any

import gradio as gr

from app.data.reading import uploads
from components import scripts
from components.theme import escape, html_block, launch_demo

_SENTENCE = "Drop a file here: a table, JSON lines, a spreadsheet, plain text. It stays in Tunesmith’s own folder."


def build_own_examples(**html_options: Any) -> gr.HTML:
    """The title, the place for a file, and the way to Choose without one."""
    accepted = escape(",".join(uploads.ACCEPTED_SUFFIXES))
    content = (
        f'<section class="own-examples"><h2>Bring your own examples</h2><p>{escape(_SENTENCE)}</p>'
        f'<div class="pick"><input type="file" id="own-file" class="unseen" accept="{accepted}">'
        '<label for="own-file">Choose a file</label></div>'
        '<a class="way" href="#choose">From the Hub, or from this machine</a></section>'
    )
    return html_block(content, js_on_load=scripts.on_load("own_examples"), **html_options)


if __name__ == "__main__":
    launch_demo(build_own_examples)
