"""The view Runs: all runs and their actions: open, rename, share, repeat, tidy, delete."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass

import gradio as gr

from app.history import run_list
from app.planning import links
from app.runs import cleanup, store
from app.server.error_boundary import EVENT_OPTIONS, Updates, with_error_notice
from app.server.views import pipeline
from app.server.views.choose import ChooseView, fill_form
from app.server.views.sidebar import format_bytes
from components import notices, runs_list
from components.pipeline import build_pipeline_run_list
from components.shell import SharedComponents, build_view
from components.theme import html_block


@dataclass(frozen=True)
class RunsView:
    """Components of the view.

    Hidden carriers: summaries_json, link_code and target_view (a view's name) go to the browser, title_input comes
    from it.
    """

    open_trigger: gr.Button
    notice: gr.HTML
    summaries_json: gr.Textbox
    link_code: gr.Textbox
    target_view: gr.Textbox
    title_input: gr.Textbox
    action_buttons: dict[str, gr.Button]


def build_runs_view(_shared: SharedComponents) -> RunsView:
    """Builds the view, without its events."""
    with build_view(
        "runs", "Runs", "Everything you have trained, newest first. A run is a folder on this machine."
    ) as container:
        notice = html_block(elem_id="runs-notice")
        build_pipeline_run_list(pipeline.newest, "runs")
        runs_list.build_runs_list()
        summaries_json, link_code, target_view, title_input = (
            gr.Textbox(visible="hidden", elem_id=f"runs-{carrier}") for carrier in ("told", "code", "place", "text")
        )
        actions = ("rename", "link", "again", "tidy", "delete")
        action_buttons = {action: gr.Button(visible="hidden", elem_id=f"runs-{action}") for action in actions}
    return RunsView(container.open_trigger, notice, summaries_json, link_code, target_view, title_input, action_buttons)


def bind_runs_events(view: RunsView, shared: SharedComponents, choose_view: ChooseView) -> None:
    """Binds the events of the view. Each action runs when runs_list.js clicks its hidden button."""

    def list_runs() -> Updates:
        return {view.summaries_json: json.dumps(run_list.list_summaries())}

    def rename(run_id: str, title: str) -> Updates:
        cleanup.rename_run(store.find_run(run_id), title)
        return list_runs()

    def tidy(run_id: str, _: str) -> Updates:
        freed_bytes = cleanup.delete_surplus_checkpoints(store.find_run(run_id))
        text = (
            f"Freed {format_bytes(freed_bytes)}."
            if freed_bytes
            else "Only the best and the last checkpoint are there already."
        )
        return list_runs() | {view.notice: notices.render_note(text)}

    def delete(run_id: str, _: str) -> Updates:
        run = store.find_run(run_id)
        title = run_list.summarize_run(run, alive=False)["title"]
        return {
            view.notice: notices.render_note(f"“{title}” is deleted. Freed {format_bytes(store.delete_run(run))}.")
        } | list_runs()

    def link(run_id: str, _: str) -> Updates:
        return {view.link_code: links.encode_setup(store.find_run(run_id).spec)}

    def reuse_setup(run_id: str, _: str) -> Updates:
        return fill_form(choose_view, store.find_run(run_id).spec) | {view.target_view: "choose"}

    view.open_trigger.click(
        with_error_notice(list_runs, view.notice), None, [view.notice, view.summaries_json], **EVENT_OPTIONS
    ).then(None, view.summaries_json, None, js=runs_list.UPDATE_PAGE_JS, **EVENT_OPTIONS)
    actions = {
        "rename": (rename, view.summaries_json, runs_list.UPDATE_PAGE_JS),
        "tidy": (tidy, view.summaries_json, runs_list.UPDATE_PAGE_JS),
        "delete": (delete, view.summaries_json, runs_list.UPDATE_PAGE_JS),
        "link": (link, view.link_code, runs_list.COPY_LINK_JS),
        "again": (reuse_setup, view.target_view, "(place) => place && tunesmith.go(place)"),
    }
    for action, (handler, carrier, js) in actions.items():
        fill_outputs = choose_view.fill_outputs if action == "again" else []
        click_event = view.action_buttons[action].click(
            _with_cleared_carrier(with_error_notice(handler, view.notice), carrier),
            [shared.run_id, view.title_input],
            [view.notice, carrier, *fill_outputs],
            js=runs_list.ACTION_INPUTS_JS,
            **EVENT_OPTIONS,
        )
        click_event.then(None, carrier, None, js=js, **EVENT_OPTIONS)


def _with_cleared_carrier(handler: Callable[..., Updates], carrier: gr.Textbox) -> Callable[..., Updates]:
    """Empties the carrier when the handler is refused: else the browser would get the output of an earlier action."""
    return lambda *inputs: {carrier: ""} | handler(*inputs)
