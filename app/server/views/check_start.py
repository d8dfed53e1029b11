"""The start of a run in the view Check, and the rehearsal before it."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import TypeAlias

import gradio as gr

from app.core.json_types import JsonObject
from app.hub import identity
from app.hub.model_choice import require_usable_model
from app.planning import launcher, preflight
from app.server.abandoned import session_abandonment
from app.server.error_boundary import EVENT_OPTIONS, Updates, stream_with_error_notice, with_error_notice
from app.server.views.check_layout import CheckView, VisitorState
from app.server.views.choose import ChooseView, read_chosen_spec
from app.server.views.rehearsal import stream_rehearsal
from app.server.visitor import visitor_workspace
from components import start_bar

UntilSuperseded: TypeAlias = Callable[[Iterator[Updates], VisitorState], Iterator[Updates]]

_DISABLE_START_JS = f"() => [{{__type__: 'update', interactive: false}}, {json.dumps(start_bar.STARTING_HTML)}]"


def bind_rehearsal_events(view: CheckView, until_superseded: UntilSuperseded) -> None:
    """Binds the button of the rehearsal."""
    before_start = view.before_start

    def run_rehearsal(
        visitor: VisitorState,
        machine: str,
        minutes: float | None,
        dollars: float | None,
        price: float | None,
        request: gr.Request,
    ) -> Iterator[Updates]:
        if visitor.spec:
            has_left, read_number = session_abandonment(request), visitor.read_count
            launch = launcher.create_launch(machine, minutes, dollars, price)
            require_usable_model(visitor.spec, identity.identity_of_request(request).token)
            updates = stream_rehearsal(
                before_start,
                visitor.spec,
                launch,
                visitor.plan and visitor.plan["seconds"],
                lambda: has_left() or visitor.read_count != read_number,
            )
            yield from until_superseded(updates, visitor)

    before_start.button.click(
        stream_with_error_notice(run_rehearsal, view.refusal),
        [view.visitor_state, *before_start.launch_inputs],
        [view.refusal, before_start.report, before_start.button],
        **EVENT_OPTIONS,
    )


def bind_price_events(view: CheckView) -> None:
    """Binds the price: it says what the run costs."""

    def show_cost(visitor: VisitorState, price: float | None) -> Updates:
        visitor.price = price
        return {view.visitor_state: visitor, view.before_start.cost: start_bar.render_cost(visitor.plan, price)}

    view.before_start.price.change(
        show_cost,
        [view.visitor_state, view.before_start.price],
        [view.visitor_state, view.before_start.cost],
        **EVENT_OPTIONS,
    )


def bind_start_events(view: CheckView, open_run: gr.HTML, choose_view: ChooseView) -> None:
    """Binds the start button. The browser disables it until the run has started or was refused: no double start."""

    def start_run(
        setup: JsonObject,
        machine: str,
        minutes: float | None,
        dollars: float | None,
        price: float | None,
        request: gr.Request,
    ) -> Updates:
        launch, spec = (
            launcher.create_launch(machine, minutes, dollars, price),
            preflight.check_spec(read_chosen_spec(setup)),
        )
        require_usable_model(spec, identity.identity_of_request(request).token)
        return {open_run: launcher.launch_run(visitor_workspace(), spec, launch).id}

    def enable_start(visitor: VisitorState) -> Updates:
        return {view.start_button: gr.update(interactive=True), view.start_summary: visitor.start_summary}

    view.start_button.click(
        None, None, [view.start_button, view.start_summary], js=_DISABLE_START_JS, **EVENT_OPTIONS
    ).then(
        with_error_notice(start_run, view.refusal),
        [choose_view.setup, *view.before_start.launch_inputs],
        [view.refusal, open_run],
        **EVENT_OPTIONS,
    ).then(enable_start, view.visitor_state, [view.start_button, view.start_summary], **EVENT_OPTIONS)
