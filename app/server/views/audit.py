"""The audit in Check: it reads all examples, automatically for small datasets, else on request."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, TypeVar

import gradio as gr

from app.core.problems import Problem
from app.engine.contracts import load_method
from app.server.abandoned import session_abandonment
from app.server.error_boundary import EVENT_OPTIONS, Updates, stream_with_error_notice, with_error_notice
from app.setup.knob import describe_knobs
from app.setup.spec import Spec
from app.worker.client import WorkerClient
from components import tokens
from components.audit import AuditState, build_audit_report
from components.theme import escape, html_block
from components.tokens import learning_mode_of

if TYPE_CHECKING:
    from app.engine.preview.page_types import RowsPreview

_MAX_AUTOMATIC_ROWS = 20_000  # larger datasets are audited on request
_MAX_FINDING_ROWS = 20  # examples of a finding that are shown
_MAX_LENGTH_RANGE = [1, 1_000_000]  # tokens; range of max_length where the method declares none
_NOTE_JS = "element.addEventListener('click', event => { if (event.target.closest('button')) trigger('click'); });"


class _Visitor(Protocol):
    """The state of a visitor's view. spec: of the setup shown; None where none is."""

    spec: Spec | None


_VisitorT = TypeVar("_VisitorT", bound=_Visitor)


@dataclass(frozen=True)
class AuditPanel:
    """Components of the audit, and those of Check that it uses.

    note: says which examples the token viewer shows, if not the first ones. notice: shows errors.
    """

    report: gr.HTML
    note: gr.HTML
    token_viewer: gr.HTML
    notice: gr.HTML


def build_audit_note() -> gr.HTML:
    """The note above the token viewer, with a button back to the first examples."""
    return html_block(elem_id="audit-note", elem_classes="audit-note", js_on_load=_NOTE_JS)


def build_audit_panel(note: gr.HTML, token_viewer: gr.HTML, notice: gr.HTML) -> AuditPanel:
    """Builds the report. note: from `build_audit_note`. All others are placed elsewhere on the page."""
    return AuditPanel(build_audit_report({"state": "none"}, elem_id="audit"), note, token_viewer, notice)


def bind_audit_events(
    panel: AuditPanel,
    worker: WorkerClient,
    visitor_state: gr.State,
    until_superseded: Callable[[Iterator[Updates], _VisitorT], Iterator[Updates]],
) -> None:
    """Binds the start of the audit. until_superseded: passes updates on until a newer setup is read."""

    def run_audit(visitor: _VisitorT, request: gr.Request) -> Iterator[Updates]:
        if visitor.spec:
            wanted_worker = worker.while_wanted(session_abandonment(request))
            yield from until_superseded(_stream_audit(panel, wanted_worker, visitor.spec), visitor)

    panel.report.submit(
        stream_with_error_notice(run_audit, panel.notice),
        visitor_state,
        [panel.notice, visitor_state, panel.report],
        **EVENT_OPTIONS,
    )


def bind_finding_events(
    panel: AuditPanel, worker: WorkerClient, visitor_state: gr.State, show_first_rows: Callable[[Spec], Updates]
) -> None:
    """Binds what shows the examples of a finding, and the way back. show_first_rows: updates with the first examples."""

    def show_finding_rows(event: gr.EventData, visitor: _Visitor, request: gr.Request) -> Updates:
        if not visitor.spec:
            return {}
        wanted_worker = worker.while_wanted(session_abandonment(request))
        finding_rows = _preview_finding_rows(wanted_worker, visitor.spec, [int(number) for number in event.rows])
        return {panel.token_viewer: finding_rows, panel.note: _render_note(str(event.text))}

    def show_first_rows_again(visitor: _Visitor) -> Updates:
        return show_first_rows(visitor.spec) | {panel.note: ""} if visitor.spec else {}

    for event, handler in ((panel.report.select, show_finding_rows), (panel.note.click, show_first_rows_again)):
        event(
            with_error_notice(handler, panel.notice),
            visitor_state,
            [panel.notice, panel.token_viewer, panel.note],
            trigger_mode="multiple",
            **EVENT_OPTIONS,
        )


def audit_if_quick(panel: AuditPanel, worker: WorkerClient, spec: Spec, row_count: int | None) -> Iterator[Updates]:
    """Runs the audit of a small dataset; for a large or unknown number of rows offers a button."""
    if row_count is not None and row_count <= _MAX_AUTOMATIC_ROWS:
        yield from _stream_audit(panel, worker, spec)
    else:
        yield _update_report(panel, {"state": "asked"})


def _stream_audit(panel: AuditPanel, worker: WorkerClient, spec: Spec) -> Iterator[Updates]:
    """Updates with the progress and the report of the audit. A cached report comes at once."""
    try:
        for message in worker.audit(spec):
            if "done" in message:
                limits = _max_length_range(spec)
                yield _update_report(panel, {"state": "done", "result": message["done"], "limits": limits})
            elif "progress" in message:
                yield _update_report(panel, {"state": "busy", "progress": message["progress"]})
    except Problem as problem:  # boundary: shown in the audit, so that the examples above stay
        yield _update_report(panel, {"state": "refused", "text": f"{problem.text} {problem.advice}".strip()})


def _update_report(panel: AuditPanel, audit_state: AuditState) -> Updates:
    return {panel.report: audit_state}


def _max_length_range(spec: Spec) -> list[float]:
    """[min, max] of the method's max_length, in tokens."""
    settings = describe_knobs(load_method(spec.method).knobs)
    setting = next((setting for setting in settings if setting["name"] == "max_length"), {})
    return [setting.get("low") or _MAX_LENGTH_RANGE[0], setting.get("high") or _MAX_LENGTH_RANGE[1]]


def _preview_finding_rows(worker: WorkerClient, spec: Spec, row_numbers: list[int]) -> tokens.ViewerContent:
    """At most 20 examples of a finding for the token viewer, in this order."""
    row_numbers = row_numbers[:_MAX_FINDING_ROWS]
    preview = worker.preview_rows(spec, len(row_numbers), row_numbers)
    response: RowsPreview = {**preview, "of": len(row_numbers)}
    return tokens.render_examples(response, learning_mode_of(load_method(spec.method)))


def _render_note(finding_text: str) -> str:
    return f"<p>{escape(finding_text)} <button type='button' class='back'>Back to the first examples</button></p>"
