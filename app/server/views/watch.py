"""The view Watch: progress, charts, samples and log of a run, and buttons that control it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import gradio as gr

from app.core.problems import Problem
from app.planning import launcher
from app.runs import result, store
from app.runs.result import ResultChoice
from app.server.error_boundary import EVENT_OPTIONS, Updates, with_error_notice
from app.server.visitor import visitor_workspace
from components import curves, log, notices, progress, runs_list, samples
from components.shell import build_view
from components.theme import html_block

_RESUMABLE_STATES = ("new", "stopped", "failed", "lost")
_OPEN_CHAT_JS = "() => { tunesmith.go('try'); return []; }"


@dataclass(frozen=True)
class WatchView:
    """Components with events. Everything else is drawn in the browser from the event stream."""

    heading: gr.HTML
    notice: gr.HTML
    stop_button: gr.Button
    save_button: gr.Button
    resume_button: gr.Button
    restart_button: gr.Button
    changed_data_button: gr.Button
    best_button: gr.Button
    last_button: gr.Button
    more_steps: gr.Number
    extend_button: gr.Button
    chat_button: gr.Button
    reuse_button: gr.Button


def build_watch_view() -> WatchView:
    """Builds the view, without its events."""
    with build_view("watch", "Watch", "Closing this page does not stop a run.") as container:
        progress.build_no_run_notice(elem_id="no-run")
        progress.build_progress(elem_id="progress", elem_classes="of-a-run")
        with gr.Row(elem_classes="actions of-a-run", elem_id="watch-actions"):
            stop_button = gr.Button("Stop and save", variant="primary", elem_id="stop")
            save_button = gr.Button("Save now", elem_id="save")
            resume_button = gr.Button("Resume", variant="primary", elem_id="resume")
            restart_button = gr.Button("Start again", variant="primary", elem_id="again")
            chat_button = gr.Button("Try it", variant="primary", elem_id="try-it")
            reuse_button = gr.Button("Use this setup again", elem_id="reuse")
            best_button = gr.Button("Use the best checkpoint", elem_id="use-best")
            last_button = gr.Button("Use the last checkpoint", elem_id="use-last")
        notice = html_block(elem_id="watch-notice", elem_classes="of-a-run")
        changed_data_button = gr.Button("Go on with the changed examples", visible=False, elem_id="resume-changed")
        with gr.Row(elem_id="watch-columns", elem_classes="of-a-run"):
            curves.build_charts(elem_id="curves")
            samples.build_samples(elem_id="answers")
        with gr.Row(elem_classes="actions of-a-run", elem_id="more-steps-row"):
            more_steps = gr.Number(
                60, label="More steps", info=launcher.LAID_OUT_ANEW, precision=0, minimum=1, elem_id="more-steps"
            )
            extend_button = gr.Button("Go on for more steps", elem_id="extend")
        log.build_log(elem_id="log", elem_classes="of-a-run")
    return WatchView(
        container.heading,
        notice,
        stop_button,
        save_button,
        resume_button,
        restart_button,
        changed_data_button,
        best_button,
        last_button,
        more_steps,
        extend_button,
        chat_button,
        reuse_button,
    )


def bind_watch_events(view: WatchView, open_run: gr.HTML) -> None:
    """Binds the buttons of the view. open_run: its value is the id of the run that they concern."""
    view.heading.select(lambda: gr.update(visible=False), None, view.changed_data_button, **EVENT_OPTIONS)
    actions = (
        (view.stop_button, "stop", _control_handler("stop")),
        (view.save_button, "save", _control_handler("save")),
        (view.resume_button, "resume", _resume_handler(view)),
        (view.restart_button, "again", _resume_handler(view)),
        (view.changed_data_button, "resume", _resume_handler(view, accept_changed_data=True)),
    )
    for button, action, handler in actions:
        button.click(
            with_error_notice(handler, view.notice),
            open_run,
            [view.notice, view.changed_data_button],
            js=_announce_request_js(action),
            **EVENT_OPTIONS,
        )
    choices: tuple[tuple[gr.Button, ResultChoice], ...] = ((view.best_button, "best"), (view.last_button, "last"))
    for button, choice in choices:
        button.click(with_error_notice(_choice_handler(choice), view.notice), open_run, view.notice, **EVENT_OPTIONS)
    view.extend_button.click(
        with_error_notice(_extend_run, view.notice),
        [open_run, view.more_steps],
        view.notice,
        js=_announce_request_js("extend", num_inputs=2),
        **EVENT_OPTIONS,
    )
    view.chat_button.click(None, None, None, js=_OPEN_CHAT_JS, **EVENT_OPTIONS)
    view.reuse_button.click(None, None, None, js=runs_list.REUSE_SETUP_JS, **EVENT_OPTIONS)


def _announce_request_js(action: str, num_inputs: int = 1) -> str:
    """JavaScript that shows the request at once: the handler may take one training step. Passes the event's inputs on."""
    announce = f"document.dispatchEvent(new CustomEvent('tunesmith:asked', {{ detail: '{action}' }}))"
    return f"(...values) => {{ {announce}; return values.slice(0, {num_inputs}); }}"  # the outputs follow the inputs


def _control_handler(command: str) -> Callable[[str], Updates]:
    """Handler that sends a control command to the run\'s backend."""

    def send_command(run_id: str) -> Updates:
        run = store.get_run(visitor_workspace(), run_id)
        if not store.is_alive(run):
            raise Problem("This run is not running any more.", advice="What it saved is kept.")
        launcher.send_command(run, command)
        return {}

    send_command.__name__ = command
    return send_command


def _choice_handler(choice: ResultChoice) -> Callable[[str], Updates]:
    """Handler that makes another checkpoint the result of a run."""

    def use_checkpoint(run_id: str) -> Updates:
        result.use_checkpoint(store.get_run(visitor_workspace(), run_id), choice)
        return {}

    return use_checkpoint


def _extend_run(run_id: str, more_steps: float | None) -> Updates:
    """Goes on with a finished run. Raises Problem."""
    if not more_steps or more_steps < 1:
        raise Problem("How many more steps is not said.", advice="Type a number, such as 60.")
    launcher.extend_run(store.get_run(visitor_workspace(), run_id), int(more_steps))
    return {}


def _resume_handler(view: WatchView, accept_changed_data: bool = False) -> Callable[[str], Updates]:
    """Handler that resumes a run. Where the examples have changed, it says so and shows the button that resumes all the same."""

    def resume_run(run_id: str) -> Updates:
        try:
            _resume_run(run_id, accept_changed_data)
        except Problem as problem:
            if problem.reason != launcher.CHANGED_DATA:
                raise
            return {view.notice: notices.render_problem(problem), view.changed_data_button: gr.update(visible=True)}
        return {view.changed_data_button: gr.update(visible=False)}

    return resume_run


def _resume_run(run_id: str, accept_changed_data: bool = False) -> None:
    """Resumes from the last checkpoint, else from the beginning. Raises Problem for an active or finished run."""
    run = store.get_run(visitor_workspace(), run_id)
    state = store.run_state(run, store.is_alive(run))
    if state not in _RESUMABLE_STATES:
        raise Problem(f"This run is {state}, so there is nothing to resume.", advice="Start a new one from Choose.")
    launcher.resume_run(run, accept_changed_data)
