"""The audit in Check: it reads all examples, automatically for small datasets, else on request."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import gradio as gr

from app.core.problems import Problem
from app.engine.contracts import load_method
from app.server.error_boundary import EVENT_OPTIONS, Updates, stream_with_error_notice, with_error_notice
from app.setup.knob import describe_knobs
from app.setup.spec import Spec
from app.worker.client import WorkerClient
from components import tokens
from components.audit import JS, render_audit
from components.theme import escape, html_block
from components.tokens import learning_mode_of

if TYPE_CHECKING:
    from app.engine.preview.page_types import RowsPreview

_MAX_AUTOMATIC_ROWS = 20_000  # larger datasets are audited on request
_MAX_LENGTH_RANGE = [1, 1_000_000]  # tokens; range of max_length where the method declares none
_NOTE_JS = "element.addEventListener('click', event => { if (event.target.closest('button')) { tunesmith.wanted = ''; document.querySelector('#audit-open').click(); } });"


class _Visitor(Protocol):
    """The state of a visitor's view. spec: of the setup shown; None where none is."""

    spec: Spec | None


@dataclass(frozen=True)
class AuditPanel:
    """Components of the audit.

    note: says which examples the token viewer shows, if not the first ones. run_button, open_button: hidden, clicked by
    audit.js. requested_rows: the finding whose examples are to be shown, as JSON.
    """

    report: gr.HTML
    note: gr.HTML
    run_button: gr.Button
    open_button: gr.Button
    requested_rows: gr.Textbox


def build_audit_note() -> gr.HTML:
    """The note above the token viewer, with a button back to the first examples."""
    return html_block(elem_id="audit-note", elem_classes="audit-note", js_on_load=_NOTE_JS)


def build_audit_panel(note: gr.HTML) -> AuditPanel:
    """Builds the panel. note: from `build_audit_note`, placed elsewhere on the page."""
    report = html_block(render_audit({"state": "none"}), elem_id="audit", js_on_load=JS)
    run_button = gr.Button(visible="hidden", elem_id="audit-go")
    open_button = gr.Button(visible="hidden", elem_id="audit-open")
    return AuditPanel(report, note, run_button, open_button, gr.Textbox(visible="hidden", elem_id="audit-wanted"))


def bind_audit_events(
    panel: AuditPanel,
    worker: WorkerClient,
    visitor_state: gr.State,
    token_viewer: gr.HTML,
    notice: gr.HTML,
    until_superseded: Callable[..., Iterator[Updates]],
    show_first_rows: Callable[[Spec], Updates],
) -> None:
    """Binds the events.

    until_superseded: passes updates on until a newer setup is read. show_first_rows: undoes a selection of rows.
    """

    def run_audit(visitor: _Visitor) -> Iterator[Updates]:
        if visitor.spec:
            yield from until_superseded(_stream_audit(panel, worker, visitor.spec), visitor)

    def show_requested_rows(request_json: str, visitor: _Visitor) -> Updates:
        if not visitor.spec:
            return {}
        if not request_json:
            return show_first_rows(visitor.spec) | {panel.note: ""}
        return _show_finding_rows(panel, worker, visitor.spec, token_viewer, request_json)

    panel.run_button.click(
        stream_with_error_notice(run_audit, notice),
        visitor_state,
        [notice, visitor_state, panel.report],
        **EVENT_OPTIONS,
    )
    panel.open_button.click(
        with_error_notice(show_requested_rows, notice),
        [panel.requested_rows, visitor_state],
        [notice, token_viewer, panel.note],
        js="(_, ...rest) => [tunesmith.wanted ?? '', ...rest]",
        trigger_mode="multiple",
        **EVENT_OPTIONS,
    )


def audit_if_quick(panel: AuditPanel, worker: WorkerClient, spec: Spec, row_count: int | None) -> Iterator[Updates]:
    """Runs the audit of a small dataset; for a large or unknown number of rows offers a button."""
    if row_count is not None and row_count <= _MAX_AUTOMATIC_ROWS:
        yield from _stream_audit(panel, worker, spec)
    else:
        yield {panel.report: render_audit({"state": "asked"})}


def _stream_audit(panel: AuditPanel, worker: WorkerClient, spec: Spec) -> Iterator[Updates]:
    """Updates with the progress and the report of the audit. A cached report comes at once."""
    try:
        for message in worker.audit(spec):
            if "done" in message:
                audit_state = {"state": "done", "result": message["done"], "limits": _max_length_range(spec)}
                yield {panel.report: render_audit(audit_state)}
            elif "progress" in message:
                yield {panel.report: render_audit({"state": "busy", "progress": message["progress"]})}
    except Problem as problem:  # boundary: shown in the audit, so that the examples above stay
        yield {panel.report: render_audit({"state": "refused", "text": f"{problem.text} {problem.advice}".strip()})}


def _max_length_range(spec: Spec) -> list[float]:
    """[min, max] of the method's max_length, in tokens."""
    settings = describe_knobs(load_method(spec.method).knobs)
    setting = next((setting for setting in settings if setting["name"] == "max_length"), {})
    return [setting.get("low") or _MAX_LENGTH_RANGE[0], setting.get("high") or _MAX_LENGTH_RANGE[1]]


def _show_finding_rows(
    panel: AuditPanel, worker: WorkerClient, spec: Spec, token_viewer: gr.HTML, request_json: str
) -> Updates:
    """Shows at most 20 examples of a finding in the token viewer, in the requested order."""
    request = json.loads(request_json)
    row_numbers = [int(number) for number in request["rows"]][:20]
    preview = worker.preview_rows(spec, len(row_numbers), row_numbers)
    response: RowsPreview = {**preview, "of": len(row_numbers)}
    note_html = f"{escape(request['text'])} <button type='button' class='back'>Back to the first examples</button>"
    return {
        token_viewer: tokens.render_token_viewer(response, learning_mode_of(load_method(spec.method))),
        panel.note: f"<p>{note_html}</p>",
    }
