"""Server functions of the model picker: search, model cards, and the download of a model."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NotRequired, TypedDict

import gradio as gr

from app.core import platform
from app.core.json_types import JsonObject
from app.core.problems import Problem
from app.core.validation import validate
from app.hub import api, download_job, identity, model_choice, model_downloads
from app.hub.download_job import DownloadState
from app.planning import model_cards, preflight
from app.planning.model_cards import ModelCard, PlannedRows
from app.planning.resolve import resolve
from app.setup.catalogue import CatalogueEntry, load_catalogue, search_catalogue
from app.setup.spec import Model, Spec, parse_spec

_MAX_CATALOGUE_MATCHES = 6


class CardRequest(TypedDict):
    """planned: what the plan has counted, where there is one."""

    setup: JsonObject
    planned: NotRequired[JsonObject | None]


class FoundModels(TypedDict):
    """Models of the catalogue that match, and those of the Hub that it does not have. hub_problem: why the Hub was not searched."""

    catalogue: list[NamedSize]
    hub: list[api.FoundModel]
    hub_problem: str


class NamedSize(TypedDict):
    """A model of the catalogue in a list."""

    id: str
    title: str
    parameters: int
    good_for: str


class Suggestions(TypedDict):
    """The models that suit the setup best. device: cpu or cuda."""

    device: str
    cards: list[ModelCard]


class CachedModels(TypedDict):
    """All models in the cache of this machine."""

    count: int
    bytes: int


class ChosenModel(model_choice.ModelDescription):
    """state: of its download since this program started. cache: None where a page shows nothing of this machine."""

    state: DownloadState | None
    cache: CachedModels | None


def model_functions() -> list[Callable[..., Any]]:
    """The server functions, without the wrapper that turns an exception into words."""
    return [
        search_models,
        suggest_models,
        describe_model,
        start_model_download,
        cancel_model_download,
        model_download_state,
        remove_model,
    ]


def search_models(text: str, request: gr.Request) -> FoundModels:
    """Models of the catalogue and of the Hub that match the text. Raises Problem where the Hub does not answer and the
    catalogue has none."""
    entries = search_catalogue(text)[:_MAX_CATALOGUE_MATCHES]
    names = {entry.name for entry in entries}
    hub_problem, hub_models = "", []
    try:
        hub_models = api.search_models(text, identity.identity_of_request(request).token)
    except Problem as problem:  # boundary: the Hub
        if not entries:
            raise
        hub_problem = problem.text
    return {
        "catalogue": [_named_size(entry) for entry in entries],
        "hub": [model for model in hub_models if model["id"] not in names],
        "hub_problem": hub_problem,
    }


def _named_size(entry: CatalogueEntry) -> NamedSize:
    return {"id": entry.name, "title": entry.title, "parameters": entry.parameters, "good_for": entry.good_for}


def suggest_models(request: CardRequest) -> Suggestions:
    """The eight models of the catalogue that suit the setup and this machine best. Asks nobody."""
    spec, device = parse_spec(request["setup"]), model_cards.read_local_device()
    other_model = {"id": load_catalogue().entries[0].name, "revision": None, "start_from": None}
    resolved = resolve(spec.model_copy(update={"model": spec.model.model_copy(update=other_model)}))
    return {"device": device.kind, "cards": model_cards.suggest_models(resolved, device, _planned(request))}


def describe_model(request: CardRequest, browser: gr.Request) -> ChosenModel:
    """The card of the setup's model, what speaks against it, and its download. Nothing of it is downloaded."""
    spec, token = _read_spec(request), identity.identity_of_request(browser).token
    description = model_choice.describe_model(spec, token, model_cards.read_local_device(), _planned(request))
    if platform.is_space():  # a run there downloads for the person who started it
        return {**description, "download": None, "state": None, "cache": None}
    return {**description, "state": download_job.download_state(spec.model.id), "cache": _count_cached_models()}


def _read_spec(request: CardRequest) -> Spec:
    spec = parse_spec(request["setup"])
    preflight.refuse_local_model(spec.model)
    return resolve(spec)


def _planned(request: CardRequest) -> PlannedRows | None:
    counts = request.get("planned")
    return validate(PlannedRows, counts, "The plan") if counts else None


def _count_cached_models() -> CachedModels:
    cached = model_downloads.list_cached_models()
    return {"count": len(cached), "bytes": sum(model.size_bytes for model in cached)}


def start_model_download(model: JsonObject, browser: gr.Request) -> DownloadState:
    """Starts to download the model of a setup into the cache of this machine."""
    _require_own_machine()
    chosen, token = validate(Model, model, "The model"), identity.identity_of_request(browser).token
    model_downloads.require_space(model_downloads.plan_download(chosen.id, token, chosen.revision))
    return download_job.start_download(chosen.id, chosen.revision, token)


def cancel_model_download(name: str) -> DownloadState | None:
    """Cancels the download of a model; what was fetched stays for the next one."""
    _require_own_machine()
    return download_job.cancel_download(name)


def model_download_state(name: str) -> DownloadState | None:
    """How far the download of a model is."""
    _require_own_machine()
    return download_job.download_state(name)


def remove_model(name: str) -> int:
    """Deletes a model from the cache, and returns the bytes that were freed."""
    _require_own_machine()
    download_job.cancel_download(name)
    return model_downloads.remove_cached_model(name)


def _require_own_machine() -> None:
    if platform.is_space():
        raise Problem(
            "On a Space, a run downloads its model itself.",
            advice="Start the training: nothing has to be fetched first.",
        )
