"""Report of the data audit: each finding with its examples and its remedy, and where to set the maximum length."""

from __future__ import annotations

import json
from typing import Any

from components import scripts
from components.theme import escape, html_block, launch_demo

JS = scripts.on_load("audit")


def render_audit(audit_state: dict[str, Any]) -> str:
    """HTML that carries the state as JSON text; audit.js draws it, so that text of examples is never parsed as HTML.

    audit_state: {"state": "none"}; {"state": "asked"}, which waits for a click; {"state": "busy", "progress": from the
    worker}; {"state": "refused", "text"}; {"state": "done", "result": from the worker, "limits": [min, max] of the
    maximum length}.
    """
    state_json = escape(json.dumps(audit_state, separators=(",", ":")))
    return f'<div class="audit"><pre hidden class="data">{state_json}</pre></div>'


def _demo() -> None:
    findings = [
        {
            "id": "duplicates",
            "severity": "careful",
            "text": "3 examples repeat an earlier one.",
            "count": 3,
            "rows": [3, 9, 12],
            "remedy": {"title": "Drop the repeated ones", "changes": {"drop": ["duplicates"]}},
        },
        {
            "id": "private",
            "severity": "wrong",
            "text": "1 example holds an e-mail address that looks real.",
            "count": 1,
            "rows": [5],
            "remedy": None,
        },
        {
            "id": "ends",
            "severity": "good",
            "text": "Every answer ends with an end token.",
            "count": 0,
            "rows": [],
            "remedy": None,
        },
    ]
    lengths = {
        "counts": [[20, 40], [40, 210], [60, 160], [120, 3]],
        "needed": [[10, 413]],
        "width": 1,
        "limit": 100,
        "maximum": 100,
        "longest": 120,
        "median": 40,
        "p99": 60,
        "total": 18_760,
    }
    result = {
        "rows": 413,
        "held_out": 20,
        "dropped": [{"reason": "empty answer", "count": 2, "rows": [4, 77]}],
        "again": False,
        "seconds": 0.8,
        "tokens": {"all": 18_760, "trained": 6_200},
        "lengths": lengths,
        "counts": {},
        "findings": findings,
        "cost": {
            "steps": 130,
            "effective_batch": 16,
            "padding": 0.31,
            "step_tokens": 900,
            "packed_rows": 190,
            "packed_steps": 60,
        },
        "examples": {"3": "Where is my parcel?", "5": "Write to a…@… please"},
    }
    for audit_state in (
        {"state": "asked"},
        {"state": "busy", "progress": {"what": "Looking at words", "done": 120, "total": 413, "seconds_left": 3}},
        {"state": "done", "result": result, "limits": [16, 4096]},
    ):
        html_block(render_audit(audit_state), js_on_load=JS)


if __name__ == "__main__":
    launch_demo(_demo)
