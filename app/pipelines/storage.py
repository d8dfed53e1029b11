"""Storage: what a person has on this machine, by kind, and deleting it together."""

from __future__ import annotations

import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import TypedDict

from app.core.problems import Problem
from app.core.workspace import Workspace
from app.pipelines import pipeline_run
from app.runs import cleanup, store

KINDS = ("runs", "pipelines", "uploads", "caches")


class StoredKind(TypedDict):
    """count: of runs, pipeline runs or files."""

    kind: str
    count: int
    bytes: int


class Deletion(TypedDict):
    """bytes: that were freed. in_use: names of what stays, because something works on it."""

    bytes: int
    in_use: list[str]


def list_storage(workspace: Workspace) -> list[StoredKind]:
    """How much there is of each kind."""
    counts = {
        "runs": len(store.list_runs(workspace)),
        "pipelines": len(pipeline_run.list_pipeline_runs(workspace)),
        "uploads": sum(1 for path in workspace.uploads.glob("*/*/[!.]*") if path.is_file()),
        "caches": sum(1 for path in _folder(workspace, "caches").rglob("*") if path.is_file()),
    }
    return [
        {"kind": kind, "count": counts[kind], "bytes": cleanup.folder_size(_folder(workspace, kind))} for kind in KINDS
    ]


def delete_storage(workspace: Workspace, kinds: Iterable[str]) -> Deletion:
    """Deletes all of these kinds but what is in use. Raises Problem for an unknown kind, and deletes nothing then."""
    chosen_kinds = [*kinds]
    for kind in chosen_kinds:
        if kind not in KINDS:
            raise Problem(f"Nothing is stored as “{kind}”.", advice=f"Choose from: {', '.join(KINDS)}.")
    before = sum(stored["bytes"] for stored in list_storage(workspace))
    in_use: list[str] = []
    if "runs" in chosen_kinds:
        in_use += _delete_runs(workspace)
    if "pipelines" in chosen_kinds:
        in_use += _delete_pipeline_runs(workspace)
    if "uploads" in chosen_kinds:
        in_use += _delete_uploads(workspace)
    if "caches" in chosen_kinds:
        _empty(_folder(workspace, "caches"))
    return {"bytes": max(0, before - sum(stored["bytes"] for stored in list_storage(workspace))), "in_use": in_use}


def _folder(workspace: Workspace, kind: str) -> Path:
    return workspace.pipelines if kind == "pipelines" else workspace.folder("cache" if kind == "caches" else kind)


def _delete_runs(workspace: Workspace) -> list[str]:
    in_use = []
    for run in store.list_runs(workspace):
        try:
            cleanup.delete_run(run)
        except Problem:  # an engine works on it
            in_use.append(run.id)
    return in_use


def _delete_pipeline_runs(workspace: Workspace) -> list[str]:
    in_use = []
    for stored_run in pipeline_run.list_pipeline_runs(workspace):
        try:
            pipeline_run.delete_pipeline_run(stored_run)
        except Problem:  # it is under way
            in_use.append(stored_run.id)
    return in_use


def _delete_uploads(workspace: Workspace) -> list[str]:
    """Running runs may read their examples from there, so these stay: their setups name the SHA-256 of each."""
    running = [run for run in store.list_runs(workspace) if store.is_alive(run)]
    used_names = " ".join(path.read_text() for run in running if (path := run.path / "spec.json").exists())
    in_use = []
    for folder in workspace.uploads.glob("*/*"):
        if folder.name in used_names:
            in_use += [path.name for path in folder.glob("[!.]*")]
        else:
            shutil.rmtree(folder)
    return in_use


def _empty(folder: Path) -> None:
    for path in folder.iterdir():
        shutil.rmtree(path, ignore_errors=True) if path.is_dir() else path.unlink(missing_ok=True)
