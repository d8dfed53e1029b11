"""In the sidebar: an address that signs in a further browser."""

from __future__ import annotations

import gradio as gr

from components import scripts
from components.theme import html_block, launch_demo

_HTML = """
<p class="careful" data-plain-http hidden>This page comes over plain HTTP: whoever is on the way can read the key and what you do here.</p>
<button type="button" class="link">Open in another browser</button>
<input readonly hidden aria-label="Address that signs in another browser"><p role="status"></p>"""


def build_sign_in_address() -> gr.HTML:
    """The button. What it shows comes from POST /sign-in-address, see app/server/local_access.py."""
    return html_block(_HTML, elem_id="sign-in-address", js_on_load=scripts.on_load("sign_in_address", "mount"))


if __name__ == "__main__":
    launch_demo(build_sign_in_address)
