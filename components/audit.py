"""Report of the data audit: each finding with its examples and its remedy, and where to set the maximum length."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, Required, TypedDict

import gradio as gr

from components import scripts
from components.theme import launch_demo

if TYPE_CHECKING:
    from app.contracts import Finding, Remedy, Severity
    from app.engine.audit.report import AuditReport
    from app.engine.cooperative import Progress


class AuditState(TypedDict, total=False):
    """What the audit shows: nothing, a button, its progress, why it was refused, or its result.

    progress: from the worker. text: of a refusal. limits: [min, max] of the maximum length, in tokens.
    """

    state: Required[Literal["none", "asked", "busy", "refused", "done"]]
    progress: Progress
    text: str
    result: AuditReport
    limits: list[float]


def build_audit_report(audit_state: AuditState, **html_options: Any) -> gr.HTML:
    """The report; its value is an AuditState, which audit.js draws, so that text of examples is never parsed as HTML.

    Its event `submit` starts the audit. `select` asks for the examples of a finding, with `rows`, their numbers, and
    `text`, the finding's sentence.
    """
    return gr.HTML(
        audit_state,
        html_template='<div class="audit"></div>',
        apply_default_css=False,
        js_on_load=scripts.on_load("audit"),
        **html_options,
    )


def _demo_findings() -> list[Finding]:
    remedy: Remedy = {"title": "Drop the repeated ones", "changes": {"drop": ["duplicates"]}}
    return [
        {**_demo_finding("duplicates", "careful", "3 examples repeat an earlier one.", [3, 9, 12]), "remedy": remedy},
        _demo_finding("private", "wrong", "1 example holds an e-mail address that looks real.", [5]),
        _demo_finding("ends", "good", "Every answer ends with an end token.", []),
    ]


def _demo_finding(finding_id: str, severity: Severity, text: str, rows: list[int]) -> Finding:
    return {"id": finding_id, "severity": severity, "text": text, "count": len(rows), "rows": rows, "remedy": None}


def _demo_report() -> AuditReport:
    return {
        "rows": 413,
        "held_out": 20,
        "eval_sets": {},
        "dropped": [{"reason": "empty answer", "count": 2, "rows": [4, 77]}],
        "again": False,
        "seconds": 0.8,
        "tokens": {"all": 18_760, "trained": 6_200},
        "lengths": {
            "counts": [[20, 40], [40, 210], [60, 160], [120, 3]],
            "needed": [[10, 413]],
            "width": 1,
            "limit": 100,
            "maximum": 100,
            "longest": 120,
            "median": 40,
            "p99": 60,
            "total": 18_760,
        },
        "counts": {},
        "findings": _demo_findings(),
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


def _demo() -> None:
    build_audit_report({"state": "asked"})
    progress: Progress = {"what": "Looking at words", "done": 120, "total": 413, "seconds_left": 3}
    build_audit_report({"state": "busy", "progress": progress})
    build_audit_report({"state": "done", "result": _demo_report(), "limits": [16, 4096]})


if __name__ == "__main__":
    launch_demo(_demo)
