"""Rehearsal in the view Check: twenty real steps before the start, and the limits of the run."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import gradio as gr

from app.core.problems import Problem
from app.planning import launcher
from app.planning.rehearsal import rehearse
from app.planning.rehearsal_findings import rehearsal_findings
from app.server.error_boundary import Updates
from app.server.views.machines import bind_machine_events, build_machine_form
from app.server.visitor import visitor_workspace
from app.setup.spec import Launch, Spec
from components import rehearsal, start_bar
from components.theme import html_block

_LABEL, _AGAIN_LABEL = "Rehearse twenty steps", "Rehearse again"
_MINUTES_INFO = "Then it stops and keeps what was learned. 0: no limit."
_COST_INFO = "At the price beside it. 0: no limit."


@dataclass(frozen=True)
class BeforeStart:
    """What can be done and set before a start. machine: hidden where there is one. cost: of the run, by price and plan."""

    report: gr.HTML
    button: gr.Button
    machine: gr.Dropdown
    minutes: gr.Number
    dollars: gr.Number
    price: gr.Number
    cost: gr.HTML

    @property
    def launch_inputs(self) -> list[gr.Dropdown | gr.Number]:
        """The inputs of `launcher.create_launch`, in its order."""
        return [self.machine, self.minutes, self.dollars, self.price]


def build_before_start() -> BeforeStart:
    """Builds the rehearsal, the choice of the device, and the limits."""
    choices = _machine_choices()
    with gr.Column(elem_id="rehearsal"):
        report = rehearsal.build_rehearsal_report(elem_id="rehearsed")
        button = gr.Button(_LABEL, elem_id="rehearse")
    with gr.Accordion("Where it runs, and when it stops by itself", open=False, elem_id="limits"):
        machine = gr.Dropdown(
            choices,
            value=choices[0][1],
            label="Where",
            info="A graphics card is many times as fast as a processor.",
            visible=len(choices) > 1,
            elem_id="machine",
        )
        with gr.Row(equal_height=False, elem_classes="row"):
            minutes = gr.Number(0, label="Stop after minutes", info=_MINUTES_INFO, minimum=0, elem_id="stop-minutes")
            dollars = gr.Number(0, label="Stop after dollars", info=_COST_INFO, minimum=0, elem_id="stop-dollars")
            price = gr.Number(
                0, label="Dollars per hour", info="What this machine costs you.", minimum=0, elem_id="hour-dollars"
            )
        cost = html_block(start_bar.render_cost(None, None), elem_id="run-cost")
        bind_machine_events(build_machine_form(), machine)
    return BeforeStart(report, button, machine, minutes, dollars, price, cost)


def _machine_choices() -> list[tuple[str, str]]:
    """(title, name) of each machine, as they are now."""
    return [(machine["title"], machine["name"]) for machine in launcher.list_machines()]


def show_nothing_rehearsed(view: BeforeStart) -> Updates:
    """Updates for another setup; machines may have been added since."""
    choices = _machine_choices()
    return _invitation(view) | {view.machine: gr.update(choices=choices, visible=len(choices) > 1)}


def _invitation(view: BeforeStart) -> Updates:
    return {
        view.report: rehearsal.render_rehearsal_invitation(),
        view.button: gr.update(value=_LABEL, interactive=True),
    }


def stream_rehearsal(
    view: BeforeStart, spec: Spec, launch: Launch, planned_seconds: float | None, is_abandoned: Callable[[], bool]
) -> Iterator[Updates]:
    """Updates of a rehearsal."""
    idle_updates = _invitation(view)
    yield {view.button: gr.update(interactive=False)}
    try:
        for message in rehearse(visitor_workspace(), spec, launch, is_abandoned=is_abandoned):
            if "settings" in message:
                findings = rehearsal_findings(message, planned_seconds)
                report = rehearsal.render_rehearsal(findings)
                idle_updates = {view.report: report, view.button: gr.update(value=_AGAIN_LABEL, interactive=True)}
            else:
                yield {view.report: rehearsal.render_rehearsal_progress(message)}
    except Problem:
        yield idle_updates
        raise
    yield idle_updates
