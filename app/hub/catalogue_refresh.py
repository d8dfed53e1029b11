"""Refresh of the catalogue from the Hub: what each model's own files say replaces what other sources said."""

from __future__ import annotations

import datetime
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from app.core.problems import Problem
from app.hub.connection import HUB_FAILURE_REASONS, hub_endpoint
from app.hub.identity import resolve_token
from app.hub.model_facts import licence_of, model_info, read_model_facts
from app.setup.catalogue import (
    CATALOGUE_FILE,
    OWN_FILES,
    Catalogue,
    CatalogueEntry,
    FactSource,
    format_catalogue,
    load_catalogue,
)
from app.setup.model_facts import ModelFacts

_SHAPE_FIELDS = {  # of a config.json: their names in ModelShape where these differ
    "num_experts_per_tok": "num_experts_per_token",
    "num_local_experts": "num_experts",
    "moe_intermediate_size": "expert_size",
}


@dataclass(frozen=True)
class Refresh:
    """What a refresh did. changes: {model: sentences on facts that were otherwise}. failures: {model: why it was left as
    it is}."""

    catalogue: Catalogue
    changes: dict[str, list[str]]
    failures: dict[str, str]


def refresh_catalogue(
    file: Path = CATALOGUE_FILE, token: str | None = None, report: Callable[[str], None] = lambda _: None
) -> Refresh:
    """Asks the Hub for each model of the file, and writes the file anew where something was learned.

    report: called with each model's name. A model that cannot be read stays as it is. Raises Problem where the Hub is
    out of reach.
    """
    catalogue = load_catalogue(file)
    entries: list[CatalogueEntry] = []
    changes: dict[str, list[str]] = {}
    failures: dict[str, str] = {}
    for entry in catalogue.entries:
        report(entry.name)
        try:
            fresh = _refresh_entry(entry, token)
        except Problem as problem:
            if problem.reason in HUB_FAILURE_REASONS:
                raise
            failures[entry.name] = str(problem)
            fresh = _refresh_gate(entry, token) if problem.reason == "gated_model" else entry
        entries.append(fresh)
        if differences := _differences(entry, fresh):
            changes[entry.name] = differences
    refreshed = _with_own_source(catalogue, tuple(entries))
    if refreshed != catalogue:
        file.write_text(format_catalogue(refreshed), encoding="utf-8")
    return Refresh(refreshed, changes, failures)


def _refresh_entry(entry: CatalogueEntry, token: str | None) -> CatalogueEntry:
    """The entry with the facts that the model's own files tell."""
    facts = read_model_facts(entry.name, token)
    config = {name: _shape_field(facts, name, value) for name, value in entry.config.items()}
    if facts.shape.max_position_embeddings:
        config["max_position_embeddings"] = facts.shape.max_position_embeddings
    fresh = replace(
        entry,
        config=config,
        parameters=facts.parameters,
        vision_parameters=max(0, facts.parameters - facts.shape.num_parameters) if facts.shape.vision else None,
        weight_bytes=facts.weight_bytes,
        weights_quantized=facts.quantized,
        licence=facts.licence or entry.licence,
        gated=facts.gated,
    )
    if facts.chat:
        chat = facts.chat
        fresh = replace(fresh, system=chat.system, tools=chat.tools, reasoning=chat.reasoning)
    confirmed_fields = [*config, "parameters", "weight_bytes", "gated", *(["licence"] if facts.licence else [])]
    return _with_source(entry, fresh, [*confirmed_fields, *(["system", "tools", "reasoning"] if facts.chat else [])])


def _refresh_gate(entry: CatalogueEntry, token: str | None) -> CatalogueEntry:
    """The entry of a model whose files may not be read: its licence and that it is gated are public."""
    info = model_info(entry.name, resolve_token(token))
    fresh = replace(entry, licence=licence_of(info) or entry.licence, gated=bool(info.gated))
    return _with_source(entry, fresh, ["gated", *(["licence"] if licence_of(info) else [])])


def _shape_field(facts: ModelFacts, name: str, value: Any) -> Any:
    """A field of the configuration, from the shape that was read."""
    return getattr(facts.shape, _SHAPE_FIELDS.get(name, name), value)


def _with_source(entry: CatalogueEntry, fresh: CatalogueEntry, fields: list[str]) -> CatalogueEntry:
    """The fresh entry with the model itself as the source of these fields; sources that said otherwise are left out."""
    changed_fields = {field for field in fields if _fact(entry, field) != _fact(fresh, field)}
    sources = {
        source: tuple(field for field in names if field not in changed_fields)
        for source, names in entry.sources.items()
        if source != OWN_FILES
    }
    remaining_sources = {source: names for source, names in sources.items() if names}
    return replace(fresh, sources=remaining_sources | {OWN_FILES: tuple(fields)})


def _fact(entry: CatalogueEntry, field: str) -> Any:
    return entry.config[field] if field in entry.config else getattr(entry, field, None)


def _differences(entry: CatalogueEntry, fresh: CatalogueEntry) -> list[str]:
    """Sentences on the facts that are new or other."""
    fields = dict.fromkeys([*entry.config, *fresh.config, *(name for name in entry.__dict__ if name not in ("config", "sources"))])  # fmt: skip
    pairs = {field: (_fact(entry, field), _fact(fresh, field)) for field in fields}
    return [f"{field}: {before} → {after}" for field, (before, after) in pairs.items() if before != after]


def _with_own_source(catalogue: Catalogue, entries: tuple[CatalogueEntry, ...]) -> Catalogue:
    """The catalogue with these entries, and only the sources that they still name."""
    today = datetime.datetime.now(datetime.UTC).date().isoformat()
    own_files = FactSource("The model’s own files on the Hub", hub_endpoint(), today)
    used_keys = {source for entry in entries for source in entry.sources}
    sources = {key: source for key, source in {**catalogue.sources, OWN_FILES: own_files}.items() if key in used_keys}
    return Catalogue(entries, sources)
