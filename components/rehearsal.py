"""Rehearsal on the page: what it is for, its progress, and what it found, with a button that uses what fits."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import gradio as gr

from components import notices, scripts
from components.theme import escape, html_block, launch_demo

if TYPE_CHECKING:
    from app.contracts import Finding
    from app.planning.rehearsal import RehearsalProgress

_TITLE = "<h2>Rehearsal</h2>"
_EXPLANATION = (
    "Twenty real steps on the longest examples, which are then thrown away. They show whether it fits into memory, how long "
    "the whole run takes, and whether the model understands the examples at all. Where memory runs out, settings that need "
    "less are tried one after the other. You need not do this: a run can start at any time."
)


def build_rehearsal_report(**html_options: Any) -> gr.HTML:
    """The report, with the invitation."""
    return html_block(render_rehearsal_invitation(), js_on_load=scripts.on_load("rehearsal"), **html_options)


def render_rehearsal_invitation() -> str:
    """HTML that explains the rehearsal before it is started."""
    return f'<div class="trial">{_TITLE}<p>{_EXPLANATION}</p></div>'


def render_rehearsal_progress(progress: RehearsalProgress) -> str:
    """HTML of the steps done, or of what the rehearsal waits for, below what ran out of memory so far."""
    done, total = progress["done"], progress["of"]
    if progress["waiting"]:
        text = f"It waits until the device is free: {progress['waiting']} ahead."
    else:
        text = f"Step {done} of {total}" if done else "The model is being loaded …"
    attempts_html = "".join(
        f"<li class='careful'>{escape('Out of memory. Tries: ' + attempt['change']['title'] + '.')}</li>"
        for attempt in progress["attempts"]
    )
    return (
        f'<div class="trial" aria-busy="true">{_TITLE}<ul class="notice">{attempts_html}</ul><p role="status">{escape(text)}</p>'
        f'<div class="track" role="progressbar" aria-label="Steps of the rehearsal" aria-valuemin="0" aria-valuemax="{total}" '
        f'aria-valuenow="{done}"><i style="width: {done / total:.0%}"></i></div></div>'
    )


def render_rehearsal(findings: list[Finding]) -> str:
    """HTML of the findings, and a button for each remedy."""
    buttons_html = "".join(
        f'<button type="button" class="plain mend" data-changes="{escape(json.dumps(remedy["changes"]))}">{escape(remedy["title"])}</button>'
        for finding in findings
        if (remedy := finding["remedy"])
    )
    return f'<div class="trial" role="status">{_TITLE}{notices.render_findings(findings)}{buttons_html}</div>'


def _demo() -> None:
    build_rehearsal_report()
    html_block(render_rehearsal_progress({"done": 7, "of": 20, "waiting": 0, "attempts": []}))
    text = "Memory ran out once. It fits with this change."
    finding: Finding = {
        "id": "out_of_memory",
        "severity": "careful",
        "text": text,
        "count": 0,
        "rows": [],
        "remedy": {"title": "Use what fits", "changes": {"knobs.checkpointing": "on"}},
    }
    html_block(render_rehearsal([finding]))


if __name__ == "__main__":
    launch_demo(_demo)
