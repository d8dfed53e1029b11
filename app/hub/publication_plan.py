"""What publishing a result will write to the Hub: each repository with its files, named before anything is sent."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from app.hub import staging
from app.hub.curve_image import render_curves
from app.runs import store
from app.runs.store import Run


@dataclass(frozen=True)
class PlannedRepository:
    """A repository that publishing creates, or updates where it exists. purpose: why, in words. files: their names and
    sizes in bytes; None for one that is written on the way."""

    repo: str
    purpose: str
    files: tuple[tuple[str, int | None], ...]


def plan_publication(run: Run, repo: str) -> list[PlannedRepository]:
    """The repositories in the order in which `app.hub.api.publish_run` writes them. Asks nobody, and copies nothing.

    Raises Problem where there is no result, or one that cannot be published.
    """
    folder = store.result_folder(run)
    base = staging.find_base_model(run)
    written = {"README.md": None} | ({"curve.png": None} if render_curves(run) else {})
    kind = "model" if base is None else "adapter"
    result = PlannedRepository(repo, f"the {kind}, with its card", _files_of(folder, written))
    if base is None or base.folder is None:
        return [result]
    if base.run is not None:
        bases = plan_publication(base.run, f"{repo}-base")
        return [
            *bases[:-1],
            PlannedRepository(bases[-1].repo, "the model that the adapter stands on", bases[-1].files),
            result,
        ]
    name = f"{repo.partition('/')[0]}/{staging.PRACTICE_MODELS[base.folder.name][0]}"
    purpose = "the practice model that the adapter stands on; only where it is not there yet"
    return [PlannedRepository(name, purpose, _files_of(base.folder, {"README.md": None})), result]


def _files_of(folder: Path, written: dict[str, None]) -> tuple[tuple[str, int | None], ...]:
    copied = {
        str(path.relative_to(folder)): path.stat().st_size
        for path in folder.rglob("*")
        if path.is_file() and not path.is_symlink()
    }
    return tuple(sorted({**copied, **written}.items()))
