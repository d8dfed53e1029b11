"""The sidebar: link to the landing view, newest runs, signed-in account and disk usage."""

from __future__ import annotations

import gradio as gr

from app.core import platform
from app.core.problems import Problem
from app.core.sizes import format_bytes
from app.history import run_list
from app.hub import api, identity
from app.server.error_boundary import EVENT_OPTIONS, as_response
from app.server.key_page import PLAIN_HTTP_SENTENCE
from app.server.visitor import visitor_workspace
from components import runs_list, sign_in_address
from components.theme import escape, html_block

_BRAND_HTML = (
    '<a class="brand" href="#start">Tunesmith</a><a class="new" href="#start">New</a>'
    '<a class="words" href="#words" title="What this page calls things, and what the field calls them">Words</a>'
)
_MAX_LISTED_RUNS = 20


def build_sidebar() -> gr.HTML:
    """Builds the sidebar, and returns its footer."""
    html_block(_BRAND_HTML, elem_id="brand")
    runs_list.build_sidebar_runs(list_newest_runs)
    if not platform.is_space():  # there one signs in with the Hub
        sign_in_address.build_sign_in_address(PLAIN_HTTP_SENTENCE)
    return html_block(elem_id="side-foot")


def bind_sidebar_events(demo: gr.Blocks, footer: gr.HTML) -> None:
    """Fills the footer when the page is loaded."""
    demo.load(_render_footer, None, footer, **EVENT_OPTIONS)


@as_response
def list_newest_runs(_: None = None) -> list[run_list.RunSummary]:
    """The newest runs; the event stream tells of later ones."""
    return run_list.list_summaries(visitor_workspace(), _MAX_LISTED_RUNS)


def _render_footer(request: gr.Request) -> str:
    """HTML of the signed-in account and the disk usage of the runs."""
    disk = run_list.disk_usage(visitor_workspace())
    sentences = (
        _account_sentence(request),
        f"Runs use {format_bytes(disk['used'])}, {format_bytes(disk['free'])} are free.",
    )
    return "".join(f"<p>{escape(sentence)}</p>" for sentence in sentences)


def _account_sentence(request: gr.Request) -> str:
    try:
        account = api.signed_in_user(identity.identity_of_request(request).token)
    except Problem as problem:  # boundary: the page works without the Hub
        return problem.text
    if account is None:
        return "Not signed in to the Hub."
    if not (account.can_write and account.namespaces):  # shown now, not after an hour of training
        return f"Signed in to the Hub as {account.name}, with a token that may only read: publishing needs one that may write."
    return f"Signed in to the Hub as {account.name}. You may publish as {' or '.join(account.namespaces)}."
