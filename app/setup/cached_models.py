"""Models in the cache of huggingface_hub: which are whole, and what this machine knows of a model without asking anybody."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

from app.core import platform
from app.core.json_files import read_json
from app.setup import models
from app.setup.catalogue import load_catalogue
from app.setup.model_facts import ModelFacts, facts_of_entry, facts_of_folder, weight_files

_WEIGHT_INDEX = "model.safetensors.index.json"
_SHARD = re.compile(r"-\d+-of-\d+\.")  # in the name of a file that is one part of the weights


def cached_copy(name: str, revision: str | None = None) -> Path | None:
    """The folder of a model of the Hub on this machine; None where one of its weight files is missing, and on a Space, where
    others may have fetched what this person has no access to."""
    from huggingface_hub import try_to_load_from_cache

    if platform.is_space():
        return None
    config = try_to_load_from_cache(name, "config.json", revision=revision)
    if not isinstance(config, str):
        return None
    folder = Path(config).parent
    shards = set(read_json(folder / _WEIGHT_INDEX).get("weight_map", {}).values())
    files = shards or weight_files({file.name: 0 for file in folder.iterdir()})
    is_listed = bool(shards) or not any(map(_SHARD.search, files))  # else nobody knows which parts are missing
    return folder if files and is_listed and all((folder / file).exists() for file in files) else None


def known_facts(name: str, revision: str | None = None) -> ModelFacts | None:
    """The facts of a shipped model, of a folder, of a copy on this machine or of the catalogue, whichever there is first;
    None for any other model of the Hub. Raises Problem for a model here that no run could use."""
    entry = load_catalogue().find(name)
    if Path(models.locate_model(name)).is_dir():
        return facts_of_folder(name)
    if folder := cached_copy(name, revision):
        facts = facts_of_folder(str(folder))
        return replace(
            facts,
            name=name,
            origin="hub",
            licence=entry.licence if entry else None,
            gated=entry.gated if entry else None,
            has_processor=facts.has_processor or None,  # these small files may not have been fetched yet
            revision=folder.name,
        )
    return facts_of_entry(entry) if entry else None
