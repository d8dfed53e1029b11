"""Staging of a result for publishing: a copy with its base model by Hub name, a model card and a curve."""

from __future__ import annotations

import os
import re
import shutil
from dataclasses import dataclass
from pathlib import Path

import yaml

from app.core.json_files import read_json, write_json
from app.core.problems import Problem
from app.hub.curve_image import render_curves
from app.hub.identity import page_url
from app.hub.model_card import CardContext, render_model_card
from app.runs.store import Run
from app.setup import models
from app.setup.portable_files import make_portable
from app.setup.sources import HUB_NAME

# {shipped model: (name of its repository on the Hub, its pipeline tag)}
PRACTICE_MODELS = {
    "pocket": ("tunesmith-practice-model", "text-generation"),
    "pocket-vision": ("tunesmith-practice-model-that-sees", "image-text-to-text"),
}
_ADAPTER_CONFIG = "adapter_config.json"


@dataclass(frozen=True)
class AdapterBase:
    """The base model of an adapter: a repository on the Hub, or a folder on this machine. run: that trained the
    model in the folder."""

    repo: str | None = None
    revision: str | None = None
    folder: Path | None = None
    run: Run | None = None


def find_base_model(run: Run) -> AdapterBase | None:
    """The base model of a run's adapter; None for a full model. Raises Problem where it cannot be published."""
    if not (run.adapter / _ADAPTER_CONFIG).exists():
        return None
    base_name = read_json(run.adapter / _ADAPTER_CONFIG).get("base_model_name_or_path") or run.spec.model.id
    folder = Path(os.path.expanduser(base_name))
    if folder.parent.parent == run.workspace.runs and folder.name == "adapter":
        return AdapterBase(folder=folder, run=Run(folder.parent))
    if run.spec.model.id in PRACTICE_MODELS:
        return AdapterBase(folder=Path(models.locate_model(run.spec.model.id)))
    if HUB_NAME.fullmatch(base_name) and not folder.is_dir():
        return AdapterBase(base_name, revision=run.spec.model.revision)
    raise Problem(
        f"This result stands on the model in {folder}, which only this machine has.",
        advice="Put that model on the Hub first, and train again from there; or publish a run that trains all weights.",
    )


def stage_run(run: Run, target: Path, repo: str, base: AdapterBase | None) -> None:
    """Fills `target` with the files for the repository. The run's folder is only read."""
    if run.adapter.is_symlink():
        raise Problem("The result of this run is a link to another folder.", advice="Put the files themselves there.")
    shutil.copytree(run.adapter, target, dirs_exist_ok=True, ignore=_links)
    if base is not None:
        config = read_json(target / _ADAPTER_CONFIG)
        write_json(target / _ADAPTER_CONFIG, config | {"base_model_name_or_path": base.repo, "revision": base.revision})
    curve = render_curves(run)
    if curve:
        (target / "curve.png").write_bytes(curve)
    context = CardContext(repo, base.repo if base else None, _licence_of_base_model(run), page_url(), bool(curve))
    (target / "README.md").write_text(render_model_card(run, context), encoding="utf-8")


def _links(folder: str, names: list[str]) -> list[str]:
    """Those that are links. In a run of a stranger they may lead to any file of this person; engines make none."""
    return [name for name in names if os.path.islink(os.path.join(folder, name))]


def _licence_of_base_model(run: Run) -> str | None:
    """The licence in the model card of the base model; None where that card is not on this machine."""
    try:
        folder = Path(models.locate_model(run.spec.model.id))
    except Problem:  # the model was moved after training: the new card does not mention its licence
        return None
    if not folder.is_dir():
        from huggingface_hub import try_to_load_from_cache

        cached = try_to_load_from_cache(run.spec.model.id, "README.md", revision=run.spec.model.revision)
        return licence_of_card(Path(cached)) if isinstance(cached, str) else None
    return licence_of_card(folder / "README.md")


def stage_practice_model(folder: Path, target: Path) -> None:
    """Fills `target` with a practice model of this repository; its card gets the front matter that the Hub reads."""
    shutil.copytree(folder, target, dirs_exist_ok=True)
    make_portable(target)
    card_text = (folder / "README.md").read_text(encoding="utf-8")
    _, pipeline_tag = PRACTICE_MODELS[folder.name]
    front_matter = f"---\nlibrary_name: transformers\npipeline_tag: {pipeline_tag}\ntags:\n- tunesmith\n---\n\n"
    (target / "README.md").write_text(front_matter + card_text, encoding="utf-8")


def licence_of_card(file: Path) -> str | None:
    """The licence in the front matter of a model card; None where there is none."""
    card_text = file.read_text("utf-8", errors="replace") if file.is_file() else ""
    match = re.match(r"^---\r?\n(.*?)\r?\n---", card_text, re.DOTALL)
    try:
        metadata = yaml.safe_load(match[1]) if match else None
    except (yaml.YAMLError, ValueError, AttributeError, RecursionError):  # boundary: somebody else's file
        return None
    name = metadata.get("license") if isinstance(metadata, dict) else None
    return name if isinstance(name, str) and re.fullmatch(r"[\w.+-]{1,60}", name) else None
