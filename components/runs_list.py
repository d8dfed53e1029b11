"""Lists of runs in the sidebar and on the Runs page, drawn in the browser from JSON."""

from __future__ import annotations

import json

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

# Pass summaries (JSON) to the lists above.
UPDATE_SIDEBAR_JS = scripts.call("runs_list", "showNewestRuns")
UPDATE_PAGE_JS = scripts.call("runs_list", "showAllRuns")
ACTION_INPUTS_JS = "() => [tunesmith.asked.run, tunesmith.asked.text]"
COPY_LINK_JS = scripts.call("runs_list", "showSetupLink")


def build_sidebar_runs() -> gr.HTML:
    """The newest runs, each a link to its view."""
    return html_block(_SIDEBAR_HTML, elem_id="side-list")


def build_runs_list() -> gr.HTML:
    """All runs with their actions."""
    return html_block(_PAGE_HTML, elem_id="runs-list")


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
    build_sidebar_runs()
    build_runs_list()
    summaries_json = gr.Textbox(json.dumps(summaries), visible="hidden")
    gr.on(None, None, summaries_json, None, js=UPDATE_PAGE_JS)


if __name__ == "__main__":
    launch_demo(_demo, head=scripts.head("runs_list"))
