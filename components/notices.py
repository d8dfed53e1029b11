"""Notices: findings, problems and remarks, each a sentence with the sign of its severity."""

from __future__ import annotations

from collections.abc import Sequence

from app.contracts import Finding, Severity
from app.core.problems import Problem
from components import scripts
from components.theme import escape, html_block, launch_demo

_SEVERITIES = ("good", "info", "careful", "wrong")


def render_findings(findings: Sequence[Finding]) -> str:
    """HTML list of findings."""
    return (
        f'<ul class="notice">{"".join(_render_item(finding["severity"], finding["text"]) for finding in findings)}</ul>'
        if findings
        else ""
    )


def _render_item(severity: str, text: str) -> str:
    assert severity in _SEVERITIES, f"there is no sign for {severity}"
    return f'<li class="{severity}">{escape(text)}</li>'


def render_problem(problem: Problem) -> str:
    """HTML of a problem and its advice; screen readers read it out at once."""
    return f'<div role="alert"><ul class="notice boxed">{_render_item("wrong", f"{problem.text} {problem.advice}".strip())}</ul></div>'


def render_note(text: str) -> str:
    """HTML of a remark."""
    return f'<div role="status"><ul class="notice boxed">{_render_item("info", text)}</ul></div>'


def render_status(text: str) -> str:
    """HTML of a line that screen readers read out when it changes."""
    return f'<p role="status">{escape(text)}</p>'


# Link from a problem to the setting that it names, or to the form. notices.css shows it beside an alert.
SETTING_LINK = '<a class="way" href="#choose">Go to this setting</a>'
SETTING_LINK_JS = scripts.on_load("notices")


def _demo() -> None:
    severities: tuple[Severity, ...] = ("good", "careful", "wrong")
    html_block(render_findings([_demo_finding(severity) for severity in severities]))
    html_block(render_problem(Problem("Batch 64 needs about 31 GB; this device has 24.", advice="Try 32.")))
    html_block(render_note("This setup came by a link."))


def _demo_finding(severity: Severity) -> Finding:
    text = f"A sentence that is {severity}."
    return {"id": severity, "severity": severity, "text": text, "count": 0, "rows": [], "remedy": None}


if __name__ == "__main__":
    launch_demo(_demo)
