"""Staging: a copy of a result, in a folder of its own, that loads anywhere: its base by name, its card, its curve."""

from __future__ import annotations

import hashlib
import os
import shutil
from dataclasses import dataclass
from pathlib import Path

from app.core import registry
from app.core.problems import Problem
from app.hub.curve_image import picture
from app.hub.identity import address
from app.hub.model_card import About, card, licence_in
from app.runs.store import Run, load_json, write_json
from app.setup import models
from app.setup.spec import HUB

# The models of this repository that adapters stand on: their names on the Hub, and what they do there.
PRACTICE = {"pocket": ("tunesmith-practice-model", "text-generation"),
            "pocket-vision": ("tunesmith-practice-model-that-sees", "image-text-to-text")}  # fmt: skip
CONFIG = "adapter_config.json"


@dataclass(frozen=True)
class Base:
    """What an adapter stands on: a model on the Hub, or a folder that only this machine has (made by `run`, if one made it)."""

    repo: str | None = None
    revision: str | None = None
    folder: Path | None = None
    run: Run | None = None


def base_of(run: Run) -> Base | None:
    """The base of an adapter; None for a whole model. Raises Problem when nobody else could get it."""
    if not (run.adapter / CONFIG).exists():
        return None
    named = load_json(run.adapter / CONFIG).get("base_model_name_or_path") or run.spec.model.id
    folder = Path(os.path.expanduser(named))
    if folder.parent.parent == registry.home("runs") and folder.name == "adapter":
        return Base(folder=folder, run=Run(folder.parent))
    if run.spec.model.id in PRACTICE:
        return Base(folder=Path(models.locate(run.spec.model.id)))
    if HUB.fullmatch(named) and not folder.is_dir():
        return Base(named, revision=run.spec.model.revision)
    raise Problem(f"This result stands on the model in {folder}, which only this machine has.",
                  advice="Put that model on the Hub first, and train again from there; or publish a run that trains all weights.")  # fmt: skip


def stage(run: Run, place: Path, repo: str, base: Base | None) -> None:
    """Fills `place` with what the repository shall hold. The run's own folder is only read."""
    shutil.copytree(run.adapter, place, dirs_exist_ok=True)
    if base is not None:
        config = load_json(place / CONFIG)
        write_json(place / CONFIG, config | {"base_model_name_or_path": base.repo, "revision": base.revision})
    curve = picture(run)
    if curve:
        (place / "curve.png").write_bytes(curve)
    about = About(repo, base.repo if base else None, licence_of(run), address(), bool(curve))
    (place / "README.md").write_text(card(run, about), encoding="utf-8")


def licence_of(run: Run) -> str | None:
    """What the base's own card says, where that card is on this machine."""
    try:
        folder = Path(models.locate(run.spec.model.id))
    except Problem:  # the model was moved since: what it said cannot be read, and the card says nothing of it
        return None
    if not folder.is_dir():
        from huggingface_hub import try_to_load_from_cache

        cached = try_to_load_from_cache(run.spec.model.id, "README.md", revision=run.spec.model.revision)
        return licence_in(Path(cached)) if isinstance(cached, str) else None
    return licence_in(folder / "README.md")


def stage_practice(folder: Path, place: Path) -> None:
    """A practice model as it lies in this repository, its card with what the Hub reads."""
    shutil.copytree(folder, place, dirs_exist_ok=True)
    told = (folder / "README.md").read_text(encoding="utf-8")
    matter = f"---\nlibrary_name: transformers\npipeline_tag: {PRACTICE[folder.name][1]}\ntags:\n- tunesmith\n---\n\n"
    (place / "README.md").write_text(matter + told, encoding="utf-8")


def sha256(file: Path) -> str:
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
