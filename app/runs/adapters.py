"""Where adapters are: those of runs and of their checkpoints, folders, and names on the Hub."""

from __future__ import annotations

import os
from pathlib import Path

from app.core import paths
from app.core.problems import Problem, shorten
from app.core.workspace import local_workspace
from app.runs import checkpoints
from app.setup import models
from app.setup.sources import HUB_NAME


def locate_adapter(start_from: str) -> str:
    """The folder or Hub name of the adapter that training starts from.

    start_from: `run:ID`, `run:ID@STEP` or `run:ID@best` for one of its checkpoints, a folder, or a Hub name. Raises
    Problem.
    """
    if not start_from.startswith("run:"):
        return _locate_external_adapter(start_from)
    name, _, selector = start_from.removeprefix("run:").partition("@")
    run_folder = local_workspace().runs / name
    folder = _find_checkpoint(run_folder, selector) if selector else run_folder / "adapter"
    if selector and folder and (fault := checkpoints.fault_of(folder)):
        raise Problem(
            f"The checkpoint of step {checkpoints.checkpoint_step(folder)} is damaged ({fault}).",
            advice="Choose another one.",
        )
    if not name.strip(".") or "/" in name or not folder or not os.path.isdir(folder):
        missing_result = f"checkpoint “{shorten(selector, 40)}”" if selector else "result"
        raise Problem(
            f"The run “{shorten(name, 120)}” has no {missing_result} to go on from.",
            advice="Choose a finished run; `runs` lists them.",
        )
    return str(folder)


def locate_model_or_adapter(name: str) -> str:
    """The folder or Hub name of a model that a setting names, such as a teacher: a model or an adapter.

    name: `run:ID`, a shipped model, a folder, or a Hub name. Raises Problem when there is no such model.
    """
    if name.startswith("run:"):
        return locate_adapter(name)
    if name in models.SHIPPED_MODELS:
        return str(paths.ROOT / "presets" / name)
    folder = os.path.expanduser(name)
    return folder if os.path.exists(os.path.join(folder, "adapter_config.json")) else models.locate_model(name)


def _find_checkpoint(run_folder: Path, selector: str) -> Path | None:
    """The complete checkpoint of this step, or for `best` the usable one with the highest evaluation score, or the
    newest where none was evaluated; None when there is none."""
    folder = run_folder / "checkpoints"
    if selector == "best":
        usable = checkpoints.usable_checkpoints(folder)
        return checkpoints.best_of(usable) or (usable[-1] if usable else None)
    complete_checkpoints = checkpoints.complete_checkpoints(folder)
    return next((path for path in complete_checkpoints if str(checkpoints.checkpoint_step(path)) == selector), None)


def _locate_external_adapter(name: str) -> str:
    """A folder with an adapter or a model, or a Hub name. Raises Problem for anything else."""
    folder = os.path.expanduser(name)
    if any(os.path.exists(os.path.join(folder, file)) for file in (models.ADAPTER_CONFIG, "config.json")):
        return folder
    if not HUB_NAME.fullmatch(name) or os.path.isdir(folder):
        raise Problem(
            f"There is no adapter called “{shorten(name, 120)}”.",
            advice="Use a Hub name such as owner/name, or a folder with an adapter_config.json.",
        )
    return name
