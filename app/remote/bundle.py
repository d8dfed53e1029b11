"""Bundle: what a run needs on another machine, each file under the hash of its content, and the Spec as it is there.

A Spec names files of this machine: uploads, paths, folders of models, results of earlier runs. They travel by content, so
what is there already is not sent again, and the Spec that goes along names them as they lie there.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypedDict

from app.core.json_types import JsonObject, JsonValue
from app.core.problems import Problem
from app.data.reading import files as source_files
from app.engine.contracts import load_reward
from app.planning.resolve import models_in_settings, resolve
from app.runs import adapters, checkpoints
from app.runs.store import Run
from app.setup import models
from app.setup.spec import Reward, Source, Spec


class BundledFile(TypedDict):
    """path: below the workspace there. hash: SHA-256."""

    path: str
    hash: str


@dataclass
class Bundle:
    """What travels. spec: as it is there. files: by their path below the workspace there. local_paths: {hash: file here}.
    replacements: {text there: text here} of what the Spec names, to be undone in what comes back."""

    spec: JsonObject
    files: list[BundledFile] = field(default_factory=list)
    local_paths: dict[str, Path] = field(default_factory=dict)
    replacements: dict[str, str] = field(default_factory=dict)

    @property
    def bytes(self) -> int:
        """Of all files, also of those that are there already."""
        return sum(path.stat().st_size for path in self.local_paths.values())


def make_bundle(run: Run, workspace_there: str) -> Bundle:
    """What a run needs. workspace_there: the folder of the workspace on that machine. Raises Problem where a file is
    missing here."""
    spec = run.spec
    bundle = Bundle(spec.to_dict())
    _bundle_sources(bundle, spec)
    _bundle_models(bundle, spec, workspace_there)
    if run.events.exists():
        _bundle_earlier_attempts(bundle, run)
    return bundle


def secret_variables(spec: Spec) -> dict[str, str]:
    """{environment variable: value} of the secrets that a Spec's rewards name, and of the Hub's token where it needs one."""
    names = [
        str(value)
        for reward in spec.rewards
        if reward.on
        for name, value in reward.params.items()
        if value and _picks(reward, name) == "secret"
    ]
    secrets = {name: os.environ[name] for name in names if name in os.environ}
    if _uses_hub(spec):
        from huggingface_hub import get_token

        token = get_token()
        secrets |= {"HF_TOKEN": token} if token else {}
    return secrets


def _picks(reward: Reward, name: str) -> str:
    declared = load_reward(reward.name).params.model_fields[name].json_schema_extra
    return str(declared.get("picks", "")) if isinstance(declared, dict) else ""


def _uses_hub(spec: Spec) -> bool:
    names = [spec.model.id, spec.model.start_from or "", *models_in_settings(resolve(spec))]
    is_remote = any(
        name and name not in models.SHIPPED_MODELS and not name.startswith("run:") and not os.path.exists(name)
        for name in names
    )
    return is_remote or any(source.source.startswith("hub:") for source in spec.sources)


# -- examples --------------------------------------------------------------------------------------------------------


def _bundle_sources(bundle: Bundle, spec: Spec) -> None:
    """Files of examples; there they are uploads, which are found by their hash."""
    for group in list(_source_groups(bundle.spec)):
        name = str(group["source"])
        path = source_files.source_path(Source.model_validate(group)) if name.startswith(("path:", "upload:")) else None
        if path is None:
            continue
        file_hash = _add(bundle, path, f"uploads/sent/{{hash}}/{path.name}")
        there = f"upload:{file_hash}{source_files.file_suffix(path)}"
        if there != name:
            group["source"] = there
            bundle.replacements[there] = name


def _source_groups(spec: JsonObject) -> Iterator[JsonObject]:
    """Every part of a Spec that is a source of examples."""
    if isinstance(spec.get("source"), str):
        yield spec
    for value in spec.values():
        for group in value if isinstance(value, list) else [value]:
            if isinstance(group, dict):
                yield from _source_groups(group)


# -- models ----------------------------------------------------------------------------------------------------------


def _bundle_models(bundle: Bundle, spec: Spec, workspace_there: str) -> None:
    """Folders of models and results of runs that the model, the settings or the rewards name."""
    resolved = resolve(spec)
    names = {name for name in (resolved.model.id, *models_in_settings(resolved)) if name}
    folders = {
        name: Path(adapters.locate_model_or_adapter(name)) for name in names if name not in models.SHIPPED_MODELS
    }
    if resolved.model.start_from:
        folders[resolved.model.start_from] = Path(adapters.locate_adapter(resolved.model.start_from))
    for name, folder in folders.items():
        if folder.is_dir():
            there = f"{workspace_there}/{_add_folder(bundle, folder)}"
            bundle.replacements[there] = name if not name.startswith("run:") else str(folder)
            bundle.spec = {key: _with_name_replaced(value, name, there) for key, value in bundle.spec.items()}


def _with_name_replaced(value: JsonValue, name: str, there: str) -> JsonValue:
    """The plain data with a text replaced wherever it is the whole of a value."""
    if isinstance(value, dict):
        return {key: _with_name_replaced(child, name, there) for key, child in value.items()}
    if isinstance(value, list):
        return [_with_name_replaced(child, name, there) for child in value]
    return there if value == name else value


def _add_folder(bundle: Bundle, folder: Path) -> str:
    """Adds the files of a model's folder. Returns the folder's path below the workspace there."""
    paths = [path for path in sorted(folder.rglob("*")) if path.is_file() and not path.name.startswith(".")]
    hashes = {str(path.relative_to(folder)): source_files.file_sha256(path) for path in paths}
    target = f"models/{hashlib.sha256(json.dumps(hashes).encode()).hexdigest()[:20]}"
    for name, file_hash in hashes.items():
        bundle.files.append({"path": f"{target}/{name}", "hash": file_hash})
        bundle.local_paths[file_hash] = folder / name
    return target


# -- a run that was begun here ---------------------------------------------------------------------------------------


def _bundle_earlier_attempts(bundle: Bundle, run: Run) -> None:
    """What a run needs to go on where it was: its events, so that they are numbered on, and its best and last checkpoint."""
    paths = [run.events, run.path / "facts.json", run.path / "log.txt"]
    usable = checkpoints.usable_checkpoints(run.checkpoints)
    kept = {*usable[-1:], *filter(None, [checkpoints.best_of(usable)])}
    paths += [path for checkpoint in sorted(kept) for path in sorted(checkpoint.rglob("*"))]
    for path in paths:
        if path.is_file():
            _add(bundle, path, f"runs/{run.id}/{path.relative_to(run.path)}")


def _add(bundle: Bundle, path: Path, place: str) -> str:
    """Adds a file and returns its hash. place: its path there, in which {hash} stands for that. Raises Problem where it cannot be read."""
    try:
        file_hash = source_files.file_sha256(path)
    except OSError as error:  # boundary: a person's file
        raise Problem(f"The file {path} cannot be read ({error.strerror}).", advice="Check it.") from error
    bundle.files.append({"path": place.replace("{hash}", file_hash), "hash": file_hash})
    bundle.local_paths[file_hash] = path
    return file_hash
