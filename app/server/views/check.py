"""The view Check: training examples token by token, as the trainer prepares them, and the start of the run."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import gradio as gr

from app.core.json_types import JsonObject
from app.core.problems import Problem
from app.data.reading import files
from app.data.source_title import source_title
from app.engine.contracts import load_method
from app.planning import preflight
from app.server.abandoned import session_abandonment
from app.server.error_boundary import EVENT_OPTIONS, Updates, stream_with_error_notice, with_error_notice
from app.server.views import audit, check_start
from app.server.views.check_layout import CheckView, VisitorState
from app.server.views.choose import ChooseView, read_chosen_spec
from app.server.views.dry_run import TRY_LABEL, stream_dry_run
from app.server.views.rehearsal import show_nothing_rehearsed
from app.setup import models
from app.setup.spec import Spec
from app.worker.client import WorkerClient
from components import batches, dataset_stats, dry_run, notices, start_bar, tokens
from components.plan import model_title
from components.theme import escape
from components.tokens import learning_mode_of

if TYPE_CHECKING:
    from app.engine.preview.page_types import BatchesPreview

_FIRST_ROWS, _MAX_ROWS = 50, 500  # examples shown at first, and at most


def bind_check_events(view: CheckView, open_run: gr.HTML, choose_view: ChooseView, worker: WorkerClient) -> None:
    """Binds the events of the view and of its audit. open_run: its value, once set to the id of a run, opens it."""
    choose_view.check_button.click(None, None, None, js="() => tunesmith.go('check')", **EVENT_OPTIONS)
    _bind_example_events(view, choose_view, worker)
    _bind_dry_run_events(view, worker)
    audit.bind_audit_events(view.audit_panel, worker, view.visitor_state, _until_superseded)
    audit.bind_finding_events(
        view.audit_panel, worker, view.visitor_state, lambda spec: _show_first_rows(view, worker, spec)
    )
    check_start.bind_rehearsal_events(view, _until_superseded)
    check_start.bind_price_events(view)
    check_start.bind_start_events(view, open_run, choose_view)


def _bind_example_events(view: CheckView, choose_view: ChooseView, worker: WorkerClient) -> None:
    """Binds what reads the setup and shows its examples and batches."""

    def read_examples(visitor: VisitorState, setup: JsonObject, request: gr.Request) -> Iterator[Updates]:
        has_left = session_abandonment(request)

        def wanted_worker() -> WorkerClient:
            """Its questions end once the visitor has left, or has another setup read."""
            read_number = visitor.read_count
            return worker.while_wanted(lambda: has_left() or visitor.read_count != read_number)

        yield from _read_setup(view, wanted_worker, visitor, lambda: preflight.check_spec(read_chosen_spec(setup)))

    def show_more_examples(visitor: VisitorState, request: gr.Request) -> Updates:
        wanted_worker = worker.while_wanted(session_abandonment(request))
        return _show_more_rows(view, wanted_worker, visitor.spec) if visitor.spec else {}

    def show_batches(visitor: VisitorState, request: gr.Request) -> Iterator[Updates]:
        wanted_worker = worker.while_wanted(session_abandonment(request))
        yield from _until_superseded(_show_batches(view, wanted_worker, visitor), visitor)

    view.heading.select(
        stream_with_error_notice(read_examples, view.notice),
        [view.visitor_state, choose_view.setup],
        view.read_outputs,
        trigger_mode="multiple",
        **EVENT_OPTIONS,
    )
    view.token_viewer.expand(
        with_error_notice(show_more_examples, view.notice),
        view.visitor_state,
        [view.notice, view.token_viewer],
        **EVENT_OPTIONS,
    )
    view.batches_tab.select(
        stream_with_error_notice(show_batches, view.notice),
        view.visitor_state,
        [view.notice, view.batches],
        **EVENT_OPTIONS,
    )


def _bind_dry_run_events(view: CheckView, worker: WorkerClient) -> None:
    """Binds the button of the dry run."""

    def run_dry_run(visitor: VisitorState, request: gr.Request) -> Iterator[Updates]:
        if visitor.spec:
            wanted_worker = worker.while_wanted(session_abandonment(request))
            updates = stream_dry_run(view.dry_run_report, view.dry_run_button, wanted_worker, visitor.spec)
            yield from _until_superseded(updates, visitor)

    view.dry_run_button.click(
        stream_with_error_notice(run_dry_run, view.notice),
        view.visitor_state,
        [view.notice, view.dry_run_report, view.dry_run_button],
        **EVENT_OPTIONS,
    )


def _read_setup(
    view: CheckView, wanted_worker: Callable[[], WorkerClient], visitor: VisitorState, read_spec: Callable[[], Spec]
) -> Iterator[Updates]:
    """Updates with the setup's examples, statistics, audit and maybe dry run; none when the setup is shown already.

    wanted_worker: called once the read has its number.
    """
    try:
        spec = read_spec()
        setup_key = _setup_key(spec)
    except Problem:
        visitor.read_count, visitor.setup_key = visitor.read_count + 1, ""
        yield _show_nothing(view, visitor)
        raise
    if setup_key == visitor.setup_key:
        return
    visitor.read_count += 1
    visitor.setup_key, visitor.batches_key, visitor.spec = setup_key, "", spec
    yield _show_loading(view, visitor, spec)
    try:
        yield from _until_superseded(_stream_preview(view, wanted_worker(), visitor, spec), visitor)
    except Problem:
        nothing_counted = visitor.start_summary == start_bar.NOTHING_TO_START_HTML
        if nothing_counted:  # else what is shown stays
            yield _show_nothing(view, visitor) | {view.setup: _render_setup_line(spec)}
        raise


def _until_superseded(updates_stream: Iterator[Updates], visitor: VisitorState) -> Iterator[Updates]:
    """Passes updates on until a newer read has begun; then drops them, and also a Problem of the older read."""
    read_number = visitor.read_count
    try:
        for updates in updates_stream:
            if visitor.read_count != read_number:
                return
            yield updates
    except Problem:
        if visitor.read_count != read_number:
            return
        visitor.setup_key = ""  # opening the view reads it again
        raise


def _stream_preview(view: CheckView, worker: WorkerClient, visitor: VisitorState, spec: Spec) -> Iterator[Updates]:
    yield _show_first_rows(view, worker, spec)
    plan = worker.estimate_run(spec)
    visitor.start_summary, visitor.plan = start_bar.render_start_summary(plan), plan
    yield {
        view.before_start.cost: start_bar.render_cost(plan, visitor.price),
        view.stats: dataset_stats.render_dataset_stats(plan, _learning_mode(spec)),
        view.start_summary: visitor.start_summary,
    }
    yield from audit.audit_if_quick(view.audit_panel, worker, spec, plan["rows"])
    if _needs_rewards(spec) and spec.model.id in models.SHIPPED_MODELS:  # quick enough to run unasked
        yield from stream_dry_run(view.dry_run_report, view.dry_run_button, worker, spec, wants_to_wait=False)


def _show_first_rows(view: CheckView, worker: WorkerClient, spec: Spec) -> Updates:
    response = worker.preview_rows(spec, _FIRST_ROWS)
    return {
        view.token_viewer: tokens.render_examples(response, _learning_mode(spec), can_load_more=True),
        view.findings: f"<h2>What was found</h2>{notices.render_findings(response['findings'])}",
    }


def _show_more_rows(view: CheckView, worker: WorkerClient, spec: Spec) -> Updates:
    """As many examples as are shown at most, at the first that was not there before."""
    response = worker.preview_rows(spec, _MAX_ROWS)
    content = tokens.render_examples(response, _learning_mode(spec), selected_index=_FIRST_ROWS)
    return {view.token_viewer: content}


def _show_batches(view: CheckView, worker: WorkerClient, visitor: VisitorState) -> Iterator[Updates]:
    """Updates with the first batches, once for each setup."""
    if visitor.spec and visitor.batches_key != visitor.setup_key:
        yield {view.batches: _render_batches(None, visitor.spec)}
        response = worker.preview_batches(visitor.spec)
        visitor.batches_key = visitor.setup_key
        yield {view.batches: _render_batches(response, visitor.spec)}


def _render_batches(response: BatchesPreview | None, spec: Spec) -> tokens.ViewerContent:
    return batches.render_batches(response, _learning_mode(spec))


def _show_loading(view: CheckView, visitor: VisitorState, spec: Spec) -> Updates:
    """Placeholders of the final size while the worker reads; at first it also has to load its libraries."""
    loading_text = tokens.FETCHING_TEXT if _needs_download(spec) else tokens.READING_TEXT
    visitor.start_summary, visitor.plan = start_bar.NOTHING_TO_START_HTML, None
    return {
        **show_nothing_rehearsed(view.before_start),
        view.setup: _render_setup_line(spec),
        view.tabs: gr.Tabs(selected="examples"),
        view.token_viewer: tokens.render_examples(None, _learning_mode(spec), loading_text=loading_text),
        view.batches: _render_batches(None, spec),
        view.findings: "",
        view.dry_run_column: gr.update(visible=_needs_rewards(spec)),
        view.dry_run_report: dry_run.render_dry_run_invitation(),
        view.dry_run_button: gr.update(value=TRY_LABEL, interactive=True),
        view.stats: dataset_stats.render_dataset_stats(None),
        view.audit_panel.report: {"state": "busy"},
        view.audit_panel.note: "",
        view.refusal: "",
        view.start_summary: start_bar.COUNTING_HTML,
        view.start_button: gr.update(interactive=True),
    }


def _show_nothing(view: CheckView, visitor: VisitorState) -> Updates:
    """Updates when the setup cannot be read: empty components with a link to the form."""
    visitor.start_summary, visitor.spec = start_bar.NOTHING_TO_START_HTML, None
    return {
        **show_nothing_rehearsed(view.before_start),
        view.setup: "",
        view.tabs: gr.Tabs(selected="examples"),
        view.token_viewer: tokens.render_no_examples(),
        view.batches: tokens.render_no_examples(),
        view.findings: "",
        view.dry_run_column: gr.update(visible=False),
        view.stats: "",
        view.audit_panel.report: {"state": "none"},
        view.audit_panel.note: "",
        view.refusal: "",
        view.start_summary: visitor.start_summary,
        view.start_button: gr.update(interactive=False),
    }


def _render_setup_line(spec: Spec) -> str:
    """HTML with title, method, model and data of the setup, and a link to change it."""
    sources = ", ".join(source_title(source) for source in spec.data)
    summary = " · ".join(filter(None, [spec.title, load_method(spec.method).title, model_title(spec), sources]))
    return f'<p class="setup">{escape(summary)} · <a class="way" href="#choose">Change</a></p>'


def _setup_key(spec: Spec) -> str:
    """Changes when the setup changes, or the size or modification time of one of its files."""
    paths = files.local_files_of_spec(spec).values()
    return f"{spec.to_json()}{[(path.stat().st_mtime_ns, path.stat().st_size) for path in paths]}"


def _needs_rewards(spec: Spec) -> bool:
    """Whether the method generates completions and learns from their rewards."""
    return load_method(spec.method).needs_rewards


def _learning_mode(spec: Spec) -> str:
    return learning_mode_of(load_method(spec.method))


def _needs_download(spec: Spec) -> bool:
    """Whether the model or data must be downloaded from the Hub first."""
    return models.locate_model(spec.model.id) == spec.model.id or any(
        source.source.startswith("hub:") for source in spec.data
    )
