"""The view Choose: the form of a setup, and the server functions that its scripts call. Nothing here starts a run."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, TypedDict

import gradio as gr
from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse

from app.core.dates import format_date
from app.core.json_types import JsonObject
from app.core.problems import Problem
from app.core.validation import validate
from app.data.reading import uploads
from app.engine.contracts import load_method
from app.history import run_list
from app.hub import identity
from app.planning import links, preflight
from app.planning.resolve import resolve
from app.planning.setup_changes import SettingChange
from app.runs import store
from app.server.abandoned import abandonment, compute_in_thread
from app.server.error_boundary import Response, as_response, problem_fields
from app.server.views import data_sources, model_choice
from app.server.visitor import visitor_workspace
from app.setup import models
from app.setup.spec import Model, Spec, parse_spec
from app.worker.bounded_calls import BoundedCalls
from app.worker.client import WorkerClient
from components.plan import build_plan_card
from components.settings import build_settings_form
from components.shell import build_view

if TYPE_CHECKING:
    from app.engine.preview.run_estimate import RunEstimate
    from app.engine.preview.template_preview import TemplatePreview

_INTRODUCTION = "Start from a preset, change what you like. Nothing starts before you say so."
_UPLOAD_SECONDS = 10.0  # to read an upload, beside a second for each of these bytes
_READ_BYTES_PER_SECOND = 20_000_000
_MAX_FINISHED_RUNS = 30  # finished runs offered as a starting point
_MAX_SEARCHED_RUNS = 300  # newest runs that are searched for finished ones


class PresetChanges(TypedDict):
    """A setup as the form takes it. preset: the name of its preset. setup: without what the preset leaves to its method."""

    preset: str
    setup: JsonObject


class OpenedLink(PresetChanges):
    """changes: the differences from the preset in words."""

    changes: list[SettingChange]


class ModelRequest(TypedDict):
    """model: the model's setting in a setup."""

    model: JsonObject


class AutomaticSettingsRequest(ModelRequest):
    """adapter: its kind."""

    method: str
    adapter: str


class LinkRequest(TypedDict):
    """page: the address that the link opens."""

    setup: JsonObject
    page: str


class FinishedRun(TypedDict):
    """A run to continue from: the model setting, and the adapter setting that matches."""

    id: str
    title: str
    model: JsonObject
    adapter: JsonObject


@dataclass(frozen=True)
class ChooseView:
    """Components of the view. setup: the form; its value is the setup as a dict."""

    setup: gr.HTML
    plan_card: gr.HTML
    check_button: gr.Button


def build_choose_view(worker: WorkerClient | None = None) -> ChooseView:
    """Builds the form, the plan card and the button that opens Check."""
    worker = worker or WorkerClient()
    with build_view("choose", "Choose", _INTRODUCTION), gr.Column(elem_id="choose-columns"):
        worker_functions = [*data_sources.data_source_functions(worker), template_preview_function(worker)]
        setup = build_settings_form(
            resolve_automatic_settings,
            *map(as_response, model_choice.model_functions()),
            list_finished_runs,
            open_setup_link_function(worker.bounded_calls),
            *map(as_response, worker_functions),
        )
        with gr.Column(elem_id="plan-card", elem_classes="card"):
            plan_card = build_plan_card(*_plan_functions(worker), create_setup_link)
            check_button = gr.Button("Check the examples", variant="primary", elem_id="check")
    return ChooseView(setup, plan_card, check_button)


def compare_with_nearest_preset(spec: Spec) -> PresetChanges:
    """The nearest preset, and how the Spec differs from it."""
    preset, _ = links.nearest_preset(spec)
    return {"preset": preset, "setup": links.preset_changes(spec, preset)}


def read_chosen_spec(setup: JsonObject) -> Spec:
    """The form's setup as a Spec whose automatic settings are not resolved yet. Raises Problem."""
    model = setup.get("model")
    if isinstance(model, dict) and not model.get("id", "pocket"):
        raise Problem("No model is named yet.", advice="Name a model, or choose the practice model.")
    return parse_spec(setup)


# -- server functions of the form -----------------------------------------------------------------------------------


def _plan_functions(worker: WorkerClient) -> list[Callable[..., Response[RunEstimate]]]:
    @as_response
    def estimate_run(setup: JsonObject, request: gr.Request | None = None) -> RunEstimate:
        wanted_worker = worker.while_wanted(abandonment(request))
        return wanted_worker.estimate_run(preflight.check_spec(parse_spec(setup)))

    return [estimate_run]


def template_preview_function(worker: WorkerClient) -> Callable[[ModelRequest], TemplatePreview]:
    """The server function `preview_template`, which renders a sample conversation."""

    def preview_template(request: ModelRequest, browser: gr.Request | None = None) -> TemplatePreview:
        """A short conversation in the chosen chat template."""
        model = validate(Model, request["model"], "The model")
        preflight.refuse_local_model(model)
        return worker.while_wanted(abandonment(browser)).preview_template(model)

    return preview_template


@as_response
def resolve_automatic_settings(request: AutomaticSettingsRequest) -> dict[str, float]:
    """The method's automatic settings, resolved for this model and adapter."""
    model = validate(Model, request["model"], "The model")
    return load_method(request["method"]).defaults(request["adapter"], models.count_parameters(model))


@as_response
def list_finished_runs(_: None = None) -> list[FinishedRun]:
    """Finished runs to continue from, newest first: the model setting, and the adapter setting that matches."""
    finished_runs = [
        summary
        for summary in run_list.list_summaries(visitor_workspace(), _MAX_SEARCHED_RUNS)
        if summary["state"] == "finished"
    ]
    entries = (
        _continuation_entry(store.get_run(visitor_workspace(), summary["id"]), _run_label(summary))
        for summary in finished_runs[:_MAX_FINISHED_RUNS]
    )
    return [entry for entry in entries if entry]


def _run_label(summary: run_list.RunSummary) -> str:
    """Label that distinguishes runs of the same title, such as "Desk sorter · 25 Nov 2026, 14:36 · 0 % → 100 %"."""
    return " · ".join(filter(None, [summary["title"], format_date(summary["started"]), summary["result"]]))


def _continuation_entry(run: store.Run, title: str) -> FinishedRun | None:
    if not run.adapter.is_dir():
        return None  # its result was deleted
    spec = run.spec
    model = spec.model.model_copy(update={"start_from": f"run:{run.id}"}).model_dump(exclude_none=True)
    return {"id": run.id, "title": title, "model": model, "adapter": spec.adapter.as_stored.model_dump()}


def open_setup_link_function(bounded_calls: BoundedCalls) -> Callable[..., Response[OpenedLink]]:
    @as_response
    def open_setup_link(code: str, request: gr.Request) -> OpenedLink:
        """The setup in a link, as changes of its preset."""
        return bounded_calls.call("open_setup_link", str(code), is_abandoned=abandonment(request))

    return open_setup_link


@as_response
def create_setup_link(request: LinkRequest) -> str:
    """A link that opens this page with this setup."""
    return links.link_to_setup(resolve(parse_spec(request["setup"])), str(request["page"]).rstrip("/"))


def mount_upload_route(app: FastAPI, bounded_calls: BoundedCalls) -> None:
    """Adds POST /uploads?name=…. The body is the file itself: it is streamed to its place without a copy in memory."""

    def store(path: Path, owner: str, is_abandoned: Callable[[], bool]) -> uploads.SourceDescription:
        seconds = _UPLOAD_SECONDS + path.stat().st_size / _READ_BYTES_PER_SECOND
        arguments = (str(visitor_workspace().path), str(path), owner)
        return bounded_calls.call("store_upload", *arguments, seconds=seconds, is_abandoned=is_abandoned)

    @app.post("/uploads")
    async def upload(request: Request, name: str) -> JSONResponse:
        try:
            uploads.require_size(int(request.headers.get("content-length") or 0))
            owner = identity.identity_of_request(request).name or "me"
            async with uploads.receive_upload(visitor_workspace(), request.stream(), name) as path:
                file_preview = await compute_in_thread(request, partial(store, path, owner))
            # The file stays: a person may choose another way to read it.
            refusal = uploads.unreadable_upload_problem(file_preview)
            return JSONResponse(
                {"answer": file_preview} | ({"problem": problem_fields(refusal, "upload")} if refusal else {}),
                422 if refusal else 200,
            )
        except Exception as error:  # outermost boundary of the page
            return JSONResponse({"problem": problem_fields(error, "upload")}, 422)
