"""Lists of runs in the sidebar and on the Runs page, drawn in the browser from JSON."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import gradio as gr

from components import scripts
from components.theme import html_block, launch_demo

_SIDEBAR_HTML = """
<nav aria-label="Runs"><details id="side-fold" open><summary>Runs</summary>
<p id="side-empty">Your runs will be listed here, with how far they are and what came of them.</p>
<ul id="side-runs" hidden></ul>
<a id="side-all" href="#runs" hidden>All runs</a>
</details></nav>"""

_PAGE_HTML = """
<div id="runs-none" class="empty" hidden><p>You have not trained anything yet. A first run takes about a minute and needs nothing but this computer.</p>
<p><a class="button" href="#start">Start with something small</a></p></div>
<div id="runs-tools" hidden><label for="runs-filter">Find a run</label>
<input id="runs-filter" type="search" autocomplete="off"><p id="runs-count" role="status"></p></div>
<label id="runs-address" hidden><span role="status">Copy this link:</span><input readonly></label>
<ul id="all-runs" aria-label="All runs"></ul>
<p id="runs-nothing" hidden>No run is called that, and none is in that state. <button type="button" class="link">Show all</button></p>
<button id="runs-more" type="button" class="button" hidden>Show more</button>
<dialog id="runs-dialog" aria-labelledby="runs-dialog-title"><form method="dialog"><h2 id="runs-dialog-title"></h2><p></p>
<label hidden>Title<input maxlength="200" autocomplete="off"></label>
<div class="choices"><button class="button primary" value="yes"></button><button class="button" value="no" formnovalidate></button></div></form></dialog>"""

# Fills the form with the open run's setup, as an action of the Runs page does.
REUSE_SETUP_JS = scripts.call("runs_list", "reuseOpenRun")


def build_sidebar_runs(*server_functions: Callable[..., Any]) -> gr.HTML:
    """The newest runs, each a link to its view. server_functions: list_newest_runs()."""
    script = scripts.on_load("runs_list", "mountSidebar")
    return html_block(_SIDEBAR_HTML, elem_id="side-list", js_on_load=script, server_functions=list(server_functions))


def build_runs_notice() -> gr.HTML:
    """Where the page of all runs says what an action did, or why it was refused."""
    return html_block('<div id="runs-notice"></div>')


def build_runs_list(*server_functions: Callable[..., Any]) -> gr.HTML:
    """All runs with their actions. server_functions: those of app/server/views/runs.py."""
    script = scripts.on_load("runs_list", "mountPage")
    return html_block(_PAGE_HTML, elem_id="runs-list", js_on_load=script, server_functions=list(server_functions))


def _demo() -> None:
    summaries = [
        {
            "id": f"20261122-15301{i}-x-aaaa",
            "title": title,
            "state": state,
            "alive": state == "training",
            "step": 62,
            "of": 100,
            "seconds_left": 9,
            "spark": [1, 0.6, 0.5, 0.2, 0.1, 0],
            "result": result,
            "started": 1795361412 - i,
            "bytes": 3_100_000,
        }
        for i, (title, state, result) in enumerate(
            [
                ("Ticket triage", "training", None),
                ("First tune", "finished", "0 % → 94 %"),
                ("<b>Maths</b>", "stopped", "stopped at 84 of 120"),
            ]
        )
    ]

    def list_newest_runs(_: None = None) -> dict[str, Any]:
        return {"answer": summaries}

    def list_runs(_: None = None) -> dict[str, Any]:
        return {"answer": {"runs": summaries, "note": ""}}

    build_sidebar_runs(list_newest_runs)
    build_runs_notice()
    build_runs_list(list_runs)


if __name__ == "__main__":
    launch_demo(_demo)
