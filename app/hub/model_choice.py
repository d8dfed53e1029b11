"""A model that a person chooses: its card, what speaks against it, and its download, as far as the Hub or this machine knows them."""

from __future__ import annotations

from pathlib import Path
from typing import TypedDict

from app.contracts import Finding
from app.core.problems import Problem
from app.hub import model_downloads
from app.hub.connection import hub_endpoint
from app.hub.model_facts import read_model_facts
from app.planning.memory.device_memory import DeviceMemory
from app.planning.model_cards import ModelCard, PlannedRows, make_card
from app.planning.model_preflight import check_model, require_trainable
from app.setup import models
from app.setup.cached_models import cached_copy, known_facts
from app.setup.catalogue import closest_entries
from app.setup.model_facts import ModelFacts
from app.setup.sources import HUB_NAME
from app.setup.spec import Spec

_NO_ANSWER = ("hub_out_of_reach", "hub_said_no", "not_signed_in")  # reasons that say nothing about the model


class Refusal(TypedDict):
    """Why a model cannot be chosen, and what to do."""

    text: str
    advice: str
    reason: str


class NamedModel(TypedDict):
    """A model that may be meant."""

    id: str
    title: str


class DownloadNeeds(TypedDict):
    """Bytes: of the whole model, of what is not on this machine, and free on its disk. has_room: whether the rest fits."""

    total: int
    missing: int
    free: int
    has_room: bool


class ModelDescription(TypedDict):
    """card: None where nothing is known of the model. refusal: why it cannot be trained. suggestions: models that may be meant
    by its name. note: why less is known than usual. address: of its page on the Hub; empty for a folder. download: None
    where the Hub does not say it."""

    card: ModelCard | None
    findings: list[Finding]
    refusal: Refusal | None
    suggestions: list[NamedModel]
    note: str
    address: str
    download: DownloadNeeds | None


def describe_model(
    spec: Spec, token: str | None, device: DeviceMemory, planned: PlannedRows | None = None
) -> ModelDescription:
    """What there is to say of the model of a resolved Spec; nothing of it is downloaded.

    planned: None where nothing is counted yet. Raises Problem where the Hub does not answer and nothing is known here.
    """
    name, revision = spec.model.id, spec.model.revision
    refusal, note = None, ""
    facts: ModelFacts | None
    try:
        facts = read_model_facts(name, token, revision)
    except Problem as problem:  # boundary: the Hub, and somebody's files
        facts = _facts_without_hub(name, revision)
        if problem.reason not in _NO_ANSWER:
            refusal = _refusal(problem)
        elif facts is None:
            raise
        else:
            note = f"{problem.text} This is what {'this machine' if facts.origin == 'hub' else 'the catalogue'} knows."
    is_on_hub = facts is None or facts.origin != "folder"
    is_missing = refusal is not None and refusal["reason"] == "model_not_found"
    can_download = facts is not None and is_on_hub and not refusal and not note
    return {
        "card": make_card(facts, spec, device, planned) if facts else None,
        "findings": check_model(facts, spec, device.kind) if facts and not refusal else [],
        "refusal": refusal,
        "suggestions": _closest_models(name) if is_missing else [],
        "note": note,
        "address": f"{hub_endpoint()}/{name}" if is_on_hub and not is_missing and HUB_NAME.fullmatch(name) else "",
        "download": _download_needs(name, token, revision) if can_download else None,
    }


def _closest_models(name: str) -> list[NamedModel]:
    return [{"id": entry.name, "title": entry.title} for entry in closest_entries(name)[:2]]


def _refusal(problem: Problem) -> Refusal:
    return {"text": problem.text, "advice": problem.advice, "reason": problem.reason}


def _facts_without_hub(name: str, revision: str | None) -> ModelFacts | None:
    try:
        return known_facts(name, revision)
    except Problem:  # what is refused was said already
        return None


def _download_needs(name: str, token: str | None, revision: str | None) -> DownloadNeeds | None:
    try:
        plan = model_downloads.plan_download(name, token, revision)
    except Problem:  # boundary: the Hub has answered before; the card stands without it
        return None
    return {
        "total": plan.total_bytes,
        "missing": plan.missing_bytes,
        "free": plan.free_bytes,
        "has_room": model_downloads.has_room(plan),
    }


def require_usable_model(spec: Spec, token: str | None = None) -> None:
    """Raises Problem where the model of a resolved Spec would have to come from the Hub and could not be trained, or has no
    room on the disk. Asks nobody about one that is on this machine; whether the Hub answers is checked elsewhere."""
    name, revision = spec.model.id, spec.model.revision
    if Path(models.locate_model(name)).is_dir() or cached_copy(name, revision):
        return
    try:
        require_trainable(read_model_facts(name, token, revision), spec)
        model_downloads.require_space(model_downloads.plan_download(name, token, revision))
    except Problem as problem:
        if problem.reason not in _NO_ANSWER:
            raise
