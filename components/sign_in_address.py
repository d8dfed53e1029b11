"""In the sidebar: an address that signs in a further browser."""

from __future__ import annotations

import html

import gradio as gr

from components import scripts
from components.theme import html_block, launch_demo

_HTML = """
<p class="careful" data-plain-http hidden>{plain_http_sentence}</p>
<button type="button" class="link">Open in another browser</button>
<input readonly hidden aria-label="Address that signs in another browser"><p role="status"></p>"""


def build_sign_in_address(plain_http_sentence: str = "") -> gr.HTML:
    """The button. What it shows comes from POST /sign-in-address, see app/server/local_access.py.

    plain_http_sentence: the warning, for a page that comes from elsewhere without https.
    """
    page_html = _HTML.format(plain_http_sentence=html.escape(plain_http_sentence))
    return html_block(page_html, elem_id="sign-in-address", js_on_load=scripts.on_load("sign_in_address", "mount"))


if __name__ == "__main__":
    launch_demo(build_sign_in_address)
