"""The last lines of a run's log, polled while the log is open."""

from __future__ import annotations

from typing import Any

import gradio as gr

from components import scripts
from components.theme import html_block, launch_demo

JS = scripts.on_load("log")

_SKELETON = """<details class="log"><summary>Log</summary><pre tabindex="0" role="region" aria-label="The last lines of the log"></pre></details>"""


def build_log(**html_options: Any) -> gr.HTML:
    """The log, closed at first."""
    return html_block(_SKELETON, js_on_load=JS, **html_options)


if __name__ == "__main__":
    launch_demo(build_log)
