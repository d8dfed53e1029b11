"""Layout of the view Check: its components and the state that it keeps for each visitor."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import gradio as gr
from gradio.blocks import Block

from app.server.views import audit
from app.server.views.dry_run import TRY_LABEL
from app.server.views.rehearsal import BeforeStart, build_before_start
from app.setup.spec import Spec
from components import batches, dataset_stats, dry_run, notices, start_bar, tokens
from components.shell import build_view
from components.theme import html_block

if TYPE_CHECKING:
    from app.engine.preview.run_estimate import RunEstimate


@dataclass
class VisitorState:
    """State of one visitor's view.

    read_count: number of setups read so far; updates of an older read are dropped. setup_key: key of the setup shown.
    batches_key: key of the setup whose batches are shown. start_summary: HTML beside the start button. plan: of the
    run; None until it is counted. price: dollars an hour.
    """

    read_count: int = 0
    setup_key: str = ""
    batches_key: str = ""
    start_summary: str = start_bar.NOTHING_TO_START_HTML
    plan: RunEstimate | None = None
    price: float | None = None
    spec: Spec | None = None


@dataclass(frozen=True)
class CheckView:
    """Components of the view, from top to bottom. heading: see ViewContainer."""

    heading: gr.HTML
    visitor_state: gr.State
    setup: gr.HTML
    notice: gr.HTML
    tabs: gr.Tabs
    batches_tab: gr.Tab
    token_viewer: gr.HTML
    batches: gr.HTML
    findings: gr.HTML
    dry_run_column: gr.Column
    dry_run_report: gr.HTML
    dry_run_button: gr.Button
    stats: gr.HTML
    audit_panel: audit.AuditPanel
    before_start: BeforeStart
    refusal: gr.HTML
    start_summary: gr.HTML
    start_button: gr.Button

    @property
    def read_outputs(self) -> list[Block]:
        """Components that reading a setup updates."""
        return [
            self.visitor_state,
            self.setup,
            self.notice,
            self.tabs,
            self.token_viewer,
            self.batches,
            self.findings,
            self.dry_run_column,
            self.dry_run_report,
            self.dry_run_button,
            self.stats,
            self.audit_panel.report,
            self.audit_panel.note,
            self.before_start.report,
            self.before_start.button,
            self.before_start.machine,
            self.before_start.cost,
            self.refusal,
            self.start_summary,
            self.start_button,
        ]


def build_check_view() -> CheckView:
    """Builds the view, without its events."""
    with build_view("check", "Check", "This is what the model reads, and what of it is learned.") as container:
        setup, notice = html_block(elem_id="check-setup"), html_block(elem_id="check-notice")
        html_block(notices.SETTING_LINK, elem_id="check-way", js_on_load=notices.SETTING_LINK_JS)
        audit_note = audit.build_audit_note()
        with gr.Tabs(selected="examples", elem_id="check-tabs") as tabs:
            with gr.Tab("Examples", id="examples"):
                token_viewer = tokens.build_token_viewer(tokens.render_examples(None), elem_id="example")
            with gr.Tab("Batches", id="batches") as batches_tab:
                html_block(f'<p class="quiet">{batches.EXPLANATION}</p>')
                batches_viewer = tokens.build_token_viewer(batches.render_batches(None), elem_id="batches")
        findings = html_block(elem_id="findings", elem_classes="found")
        with gr.Column(visible=False, elem_id="trial") as dry_run_column:
            dry_run_report = html_block(dry_run.render_dry_run_invitation(), elem_id="tried")
            dry_run_button = gr.Button(TRY_LABEL, elem_id="attempt")
        stats = html_block(dataset_stats.render_dataset_stats(None), elem_id="whole")
        audit_panel = audit.build_audit_panel(audit_note, token_viewer, notice)
        before_start = build_before_start()
        refusal, start_summary, start_button = _build_start_bar()
    return CheckView(
        heading=container.heading,
        visitor_state=gr.State(VisitorState()),
        setup=setup,
        notice=notice,
        tabs=tabs,
        batches_tab=batches_tab,
        token_viewer=token_viewer,
        batches=batches_viewer,
        findings=findings,
        dry_run_column=dry_run_column,
        dry_run_report=dry_run_report,
        dry_run_button=dry_run_button,
        stats=stats,
        audit_panel=audit_panel,
        before_start=before_start,
        refusal=refusal,
        start_summary=start_summary,
        start_button=start_button,
    )


def _build_start_bar() -> tuple[gr.HTML, gr.HTML, gr.Button]:
    """Bar that stays visible: refusal, start summary, start button."""
    with gr.Column(elem_classes="start-bar"):
        refusal = html_block(elem_id="start-notice")
        with gr.Row(elem_classes="row"):
            start_summary = html_block(start_bar.COUNTING_HTML, elem_id="promise")
            start_button = gr.Button("Start training", variant="primary", elem_id="begin")
    return refusal, start_summary, start_button
