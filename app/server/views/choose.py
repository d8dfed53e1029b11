"""Choose: the form that makes a setup, and what it asks of the page. Nothing here starts anything."""

from __future__ import annotations

import functools
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import gradio as gr
from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse

from app.core import registry
from app.core.problems import Problem, explain
from app.core.validation import parse
from app.data import uploads
from app.hub import api, identity
from app.planning import preflight
from app.planning.resolve import resolve
from app.runs import store
from app.server.error_boundary import Updates
from app.server.views import data_sources
from app.setup import links, models
from app.setup.spec import Model, Spec, read
from app.worker.client import Worker
from components.plan import plan
from components.settings import form
from components.shell import Frame, view

log = logging.getLogger("tunesmith")

HEADING = "Start from a preset, change what you like. Nothing starts before you say so."
LISTED = 30  # finished runs to go on from
LOOKED_AT = 300  # newest runs among which they are looked for

Answer = dict[str, Any]  # {"answer": …} or {"problem": {"text", "advice", "reason"}}


@dataclass(frozen=True)
class Choose:
    """The pieces. setup: the form; its value is the setup as plain data."""

    setup: gr.HTML
    plan: gr.HTML
    check: gr.Button

    @property
    def fields(self) -> list[Any]:
        """What an event needs beside `setup` to know what is chosen: nothing."""
        return []

    @property
    def filled(self) -> list[Any]:
        """What a chosen setup changes on the page."""
        return [self.setup]


def draw(_frame: Frame | None = None, worker: Worker | None = None) -> Choose:
    worker = worker or Worker()
    with view("choose", "Choose", HEADING), gr.Column(elem_id="choose-columns"):
        setup = form(
            settle, search, finished, open_link, *map(answered, [*data_sources.asks_of(worker), written_by(worker)])
        )
        with gr.Column(elem_id="plan-card", elem_classes="card"):
            card = plan(*asks_of(worker), link_to)
            check = gr.Button("Check the examples", variant="primary", elem_id="check")
    return Choose(setup, card, check)


def fill(parts: Choose, spec: Spec) -> Updates:
    """Fills the form with a resolved Spec, compared with the preset nearest to it."""
    return {parts.setup: beside_nearest(spec)}


def beside_nearest(spec: Spec) -> dict[str, Any]:
    preset, _ = links.nearest(spec)
    return {"preset": preset, "setup": links.beside(spec, preset)}


def chosen(_parts: Choose, setup: dict[str, Any], _fields: tuple[Any, ...] = ()) -> Spec:
    """The setup of the form as a Spec, its open settings still open. Raises Problem."""
    given = setup.get("setup", setup)  # what `fill` sent may not have reached the form yet
    if not given.get("model", {}).get("id", "pocket"):
        raise Problem("No model is named yet.", advice="Name a model, or choose the practice model.")
    return read(given)


# -- what the form asks; each answer says its problem in words ------------------------------------------------------


def answered(deed: Callable[..., Any]) -> Callable[..., Answer]:
    """The deed for a piece's script: a script gets no exception, so a problem travels as data."""

    @functools.wraps(deed)
    def answering(*given: Any) -> Answer:
        try:
            return {"answer": deed(*given)}
        except Exception as error:  # the page's outermost border
            return {"problem": problem_of(error, deed.__name__)}

    return answering


def problem_of(error: Exception, deed: str) -> dict[str, str]:
    if not isinstance(error, Problem):
        log.error("The form's %s broke", deed, exc_info=error)
    found = explain(error)
    return {"text": found.text, "advice": found.advice, "reason": found.reason}


def asks_of(worker: Worker) -> list[Callable[..., Answer]]:
    @answered
    def plan(setup: dict[str, Any]) -> dict[str, Any]:
        return worker.plan(preflight.check(read(setup)))

    return [plan]


def written_by(worker: Worker) -> Callable[[dict[str, Any]], dict[str, Any]]:
    def written(about: dict[str, Any]) -> dict[str, Any]:
        """A short conversation in the chat format that is chosen."""
        return worker.written(parse(Model, about["model"], "The model").model_dump(exclude_none=True))

    return written


@answered
def settle(about: dict[str, Any]) -> dict[str, Any]:
    """What the method's automatic settings come to for this model and adapter."""
    model = parse(Model, about["model"], "The model")
    return registry.load("methods", about["method"]).defaults(about["adapter"], models.parameters(model))


@answered
def search(text: str, request: gr.Request) -> list[dict[str, Any]]:
    return api.search_models(text, identity.person(request).token)


@answered
def finished(_nothing: Any = None) -> list[dict[str, Any]]:
    """Finished runs to go on from, newest first: their base, and the adapter that fits them."""
    ended = [one for one in store.summaries(LOOKED_AT) if one["state"] == "finished"]
    found = (onward(store.exact(one["id"]), told(one)) for one in ended[:LISTED])
    return [one for one in found if one]


def told(one: dict[str, Any]) -> str:
    """A run told from others of its name: Desk sorter · 25 Nov, 14:36 · 0 % → 100 %."""
    when = time.strftime("%d %b, %H:%M", time.localtime(one["started"])).lstrip("0")
    return " · ".join(filter(None, [one["title"], when, one["result"]]))


def onward(run: store.Run, title: str) -> dict[str, Any] | None:
    if not run.adapter.is_dir():
        return None  # tidied away
    spec = run.spec
    model = spec.model.model_copy(update={"start_from": f"run:{run.id}"}).model_dump(exclude_none=True)
    return {"id": run.id, "title": title, "model": model, "adapter": spec.adapter.model_dump()}


@answered
def open_link(code: str) -> dict[str, Any]:
    """What a link sets up, as a change of its preset."""
    preset, spec = links.open_link(str(code))
    return {"preset": preset, "setup": links.beside(spec, preset)}


@answered
def link_to(asked: dict[str, Any]) -> str:
    """The address that opens this page with this setup."""
    return links.link(resolve(read(asked["setup"])), str(asked["page"]).rstrip("/"))


def serve(app: FastAPI) -> None:
    """POST /uploads?name=…: the file's bytes as they are, so that nothing of it lies in memory or in a second place."""

    @app.post("/uploads")
    async def upload(request: Request, name: str) -> JSONResponse:
        try:
            uploads.require_size(int(request.headers.get("content-length") or 0))
            owner = identity.person(request).name or "me"
            looked = await uploads.receive(request.stream(), name, owner)
            wrong = uploads.refusal(looked)  # it is kept: a person may decide to read it in another way
            return JSONResponse(
                {"answer": looked} | ({"problem": problem_of(wrong, "upload")} if wrong else {}), 422 if wrong else 200
            )
        except Exception as error:  # the page's outermost border
            return JSONResponse({"problem": problem_of(error, "upload")}, 422)
