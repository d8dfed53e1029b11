"""Runs list: the runs in the side and on their own page, drawn in the browser from plain data."""

from __future__ import annotations

import json
from pathlib import Path

import gradio as gr

from components.shell import HEAD as SHELL
from components.theme import alone, page

HEAD = f"<script>{Path(__file__).with_suffix('.js').read_text(encoding='utf-8')}</script>"

SIDE = """
<nav aria-label="Runs"><details id="side-fold" open><summary>Runs</summary>
<p id="side-empty">Your runs will be listed here, with how far they are and what came of them.</p>
<ul id="side-runs" hidden></ul>
<a id="side-all" href="#runs" hidden>All runs</a>
</details></nav>"""

PAGE = """
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

# Gives a list that came as text to the pieces above.
TELL_SIDE = "(text) => tunesmith.listed(text, false)"
TELL_PAGE = "(text) => tunesmith.listed(text, true)"
ASKED = "() => [tunesmith.asked.run, tunesmith.asked.text]"
COPY = "(code) => tunesmith.copied(code)"


def side() -> gr.HTML:
    """The newest runs; each leads to its own view."""
    return page(SIDE, elem_id="side-list")


def everything() -> gr.HTML:
    """All runs with what can be done to each."""
    return page(PAGE, elem_id="runs-list")


def example() -> None:
    shown = [{"id": f"20261122-15301{i}-x-aaaa", "title": title, "state": state, "alive": state == "training", "step": 62,
              "of": 100, "seconds_left": 9, "spark": [1, 0.6, 0.5, 0.2, 0.1, 0], "result": result, "started": 1795361412 - i, "bytes": 3_100_000}
             for i, (title, state, result) in enumerate([("Ticket triage", "training", None), ("First tune", "finished", "0 % → 94 %"),
                                                         ("<b>Maths</b>", "stopped", "stopped at 84 of 120")])]  # fmt: skip
    side()
    everything()
    told = gr.Textbox(json.dumps(shown), visible="hidden")
    gr.on(None, None, told, None, js=TELL_PAGE)


if __name__ == "__main__":
    alone(example, head=SHELL + HEAD)
