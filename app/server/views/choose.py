"""The view Choose: the form of a setup, and the server functions that its scripts call. Nothing here starts a run."""

from __future__ import annotations

import functools
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import gradio as gr
from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse

from app.core.problems import Problem, to_problem
from app.core.validation import validate
from app.data import uploads
from app.engine.contracts import load_method
from app.history import run_list
from app.hub import api, identity
from app.planning import links, preflight
from app.planning.resolve import resolve
from app.runs import store
from app.server.error_boundary import Updates
from app.server.views import data_sources
from app.setup import models
from app.setup.spec import Model, Spec, parse_spec
from app.worker.client import WorkerClient
from components.plan import build_plan_card
from components.settings import build_settings_form
from components.shell import SharedComponents, build_view

if TYPE_CHECKING:
    from app.engine.preview.run_estimate import RunEstimate
    from app.engine.preview.template_preview import TemplatePreview

_logger = logging.getLogger("tunesmith")

_INTRODUCTION = "Start from a preset, change what you like. Nothing starts before you say so."
_MAX_FINISHED_RUNS = 30  # finished runs offered as a starting point
_MAX_SEARCHED_RUNS = 300  # newest runs that are searched for finished ones

Response = dict[str, Any]  # {"answer": …} or {"problem": {"text", "advice", "reason"}}


@dataclass(frozen=True)
class ChooseView:
    """Components of the view. setup: the form; its value is the setup as a dict."""

    setup: gr.HTML
    plan_card: gr.HTML
    check_button: gr.Button

    @property
    def extra_inputs(self) -> list[Any]:
        """Inputs that an event needs beside `setup`: none."""
        return []

    @property
    def fill_outputs(self) -> list[Any]:
        """Components that `fill_form` updates."""
        return [self.setup]


def build_choose_view(_shared: SharedComponents | None = None, worker: WorkerClient | None = None) -> ChooseView:
    """Builds the form, the plan card and the button that opens Check."""
    worker = worker or WorkerClient()
    with build_view("choose", "Choose", _INTRODUCTION), gr.Column(elem_id="choose-columns"):
        worker_functions = [*data_sources.data_source_functions(worker), template_preview_function(worker)]
        setup = build_settings_form(settle, search, finished, open_link, *map(as_response, worker_functions))
        with gr.Column(elem_id="plan-card", elem_classes="card"):
            plan_card = build_plan_card(*_plan_functions(worker), link_to)
            check_button = gr.Button("Check the examples", variant="primary", elem_id="check")
    return ChooseView(setup, plan_card, check_button)


def fill_form(choose_view: ChooseView, spec: Spec) -> Updates:
    """Updates that fill the form with a resolved Spec, shown as changes of the nearest preset."""
    return {choose_view.setup: compare_with_nearest_preset(spec)}


def compare_with_nearest_preset(spec: Spec) -> dict[str, Any]:
    """{"preset": the nearest preset, "setup": how the Spec differs from it}."""
    preset, _ = links.nearest_preset(spec)
    return {"preset": preset, "setup": links.preset_changes(spec, preset)}


def read_chosen_spec(_choose_view: ChooseView, setup: dict[str, Any], _extra_inputs: tuple[Any, ...] = ()) -> Spec:
    """The form's setup as a Spec whose automatic settings are not resolved yet. Raises Problem."""
    setup_fields = setup.get("setup", setup)  # after `fill_form` the form may not have sent its own setup yet
    if not setup_fields.get("model", {}).get("id", "pocket"):
        raise Problem("No model is named yet.", advice="Name a model, or choose the practice model.")
    return parse_spec(setup_fields)


# -- server functions of the form -----------------------------------------------------------------------------------


def as_response(function: Callable[..., Any]) -> Callable[..., Response]:
    """Wraps a server function for a script: exceptions do not reach scripts, so a problem is returned as a dict."""

    @functools.wraps(function)
    def wrapper(*arguments: Any) -> Response:
        try:
            return {"answer": function(*arguments)}
        except Exception as error:  # outermost boundary of the page
            return {"problem": _problem_response(error, function.__name__)}

    return wrapper


def _problem_response(error: Exception, function_name: str) -> dict[str, str]:
    if not isinstance(error, Problem):
        _logger.error("The form's %s broke", function_name, exc_info=error)
    problem = to_problem(error)
    return {"text": problem.text, "advice": problem.advice, "reason": problem.reason}


def _plan_functions(worker: WorkerClient) -> list[Callable[..., Response]]:
    @as_response
    def plan(setup: dict[str, Any]) -> RunEstimate:
        return worker.estimate_run(preflight.check_spec(parse_spec(setup)))

    return [plan]


def template_preview_function(worker: WorkerClient) -> Callable[[dict[str, Any]], TemplatePreview]:
    """The server function `written`, which renders a sample conversation."""

    def written(request: dict[str, Any]) -> TemplatePreview:
        """A short conversation in the chosen chat template."""
        return worker.preview_template(validate(Model, request["model"], "The model"))

    return written


@as_response
def settle(request: dict[str, Any]) -> dict[str, Any]:
    """The method's automatic settings, resolved for this model and adapter."""
    model = validate(Model, request["model"], "The model")
    return load_method(request["method"]).defaults(request["adapter"], models.count_parameters(model))


@as_response
def search(text: str, request: gr.Request) -> list[dict[str, Any]]:
    """Models on the Hub that match the text."""
    return api.search_models(text, identity.identity_of_request(request).token)


@as_response
def finished(_: Any = None) -> list[dict[str, Any]]:
    """Finished runs to continue from, newest first: the model setting, and the adapter setting that matches."""
    finished_runs = [
        summary for summary in run_list.list_summaries(_MAX_SEARCHED_RUNS) if summary["state"] == "finished"
    ]
    entries = (
        _continuation_entry(store.get_run(summary["id"]), _run_label(summary))
        for summary in finished_runs[:_MAX_FINISHED_RUNS]
    )
    return [entry for entry in entries if entry]


def _run_label(summary: dict[str, Any]) -> str:
    """Label that distinguishes runs of the same title, such as "Desk sorter · 25 Nov, 14:36 · 0 % → 100 %"."""
    started_at = time.strftime("%d %b, %H:%M", time.localtime(summary["started"])).lstrip("0")
    return " · ".join(filter(None, [summary["title"], started_at, summary["result"]]))


def _continuation_entry(run: store.Run, title: str) -> dict[str, Any] | None:
    if not run.adapter.is_dir():
        return None  # its result was deleted
    spec = run.spec
    model = spec.model.model_copy(update={"start_from": f"run:{run.id}"}).model_dump(exclude_none=True)
    return {"id": run.id, "title": title, "model": model, "adapter": spec.adapter.model_dump()}


@as_response
def open_link(code: str) -> dict[str, Any]:
    """The setup in a link, as changes of its preset."""
    preset, spec = links.open_link(str(code))
    return {"preset": preset, "setup": links.preset_changes(spec, preset)}


@as_response
def link_to(request: dict[str, Any]) -> str:
    """A link that opens this page with this setup."""
    return links.link_to_setup(resolve(parse_spec(request["setup"])), str(request["page"]).rstrip("/"))


def mount_upload_route(app: FastAPI) -> None:
    """Adds POST /uploads?name=…. The body is the file itself: it is streamed to its place without a copy in memory."""

    @app.post("/uploads")
    async def upload(request: Request, name: str) -> JSONResponse:
        try:
            uploads.require_size(int(request.headers.get("content-length") or 0))
            owner = identity.identity_of_request(request).name or "me"
            file_preview = await uploads.receive_upload(request.stream(), name, owner)
            # The file stays: a person may choose another way to read it.
            refusal = uploads.unreadable_upload_problem(file_preview)
            return JSONResponse(
                {"answer": file_preview} | ({"problem": _problem_response(refusal, "upload")} if refusal else {}),
                422 if refusal else 200,
            )
        except Exception as error:  # outermost boundary of the page
            return JSONResponse({"problem": _problem_response(error, "upload")}, 422)
