"""The view Runs: all runs and their actions: open, rename, share, repeat, tidy, delete."""

from __future__ import annotations

from typing import TypedDict

from app.core.sizes import format_bytes
from app.history import run_list
from app.pipelines import storage
from app.planning import links
from app.runs import cleanup, store
from app.server.error_boundary import as_response
from app.server.views import pipeline
from app.server.views.choose import PresetChanges, compare_with_nearest_preset
from app.server.visitor import visitor_workspace
from components import runs_list
from components.pipeline import build_pipeline_run_list
from components.shell import build_view
from components.storage import build_storage


class RunListing(TypedDict):
    """All runs, newest first, and a remark on what an action did; empty where there is none."""

    runs: list[run_list.RunSummary]
    note: str


class RenameRequest(TypedDict):
    """run: its id."""

    run: str
    title: str


def build_runs_view() -> None:
    """Builds the view; its script calls the server functions below."""
    with build_view("runs", "Runs", "Everything you have trained, newest first. A run is a folder on this machine."):
        runs_list.build_runs_notice()
        build_pipeline_run_list(pipeline.list_newest_pipeline_runs, "runs")
        runs_list.build_runs_list(
            list_runs, rename_run, delete_surplus_checkpoints, delete_run, encode_setup_link, read_setup
        )
        build_storage(list_storage, delete_storage)


# -- server functions of the view -----------------------------------------------------------------------------------


@as_response
def list_runs(_: None = None) -> RunListing:
    """All runs."""
    return _listing()


@as_response
def rename_run(request: RenameRequest) -> RunListing:
    """Gives a run another title."""
    cleanup.rename_run(store.find_run(visitor_workspace(), request["run"]), request["title"])
    return _listing()


@as_response
def delete_surplus_checkpoints(run_id: str) -> RunListing:
    """Deletes all checkpoints of a run but the best and the last."""
    freed_bytes = cleanup.delete_surplus_checkpoints(store.find_run(visitor_workspace(), run_id))
    return _listing(
        f"Freed {format_bytes(freed_bytes)}."
        if freed_bytes
        else "Only the best and the last checkpoint are there already."
    )


@as_response
def delete_run(run_id: str) -> RunListing:
    """Deletes a run with all its files."""
    run = store.find_run(visitor_workspace(), run_id)
    title = run_list.summarize_run(run, alive=False)["title"]
    freed_bytes = cleanup.delete_run(run)
    return _listing(f"“{title}” is deleted. Freed {format_bytes(freed_bytes)}.")


@as_response
def encode_setup_link(run_id: str) -> str:
    """The code of a link to a run's setup. A setup with a file of this machine is refused."""
    return links.encode_setup(store.find_run(visitor_workspace(), run_id).spec)


@as_response
def read_setup(run_id: str) -> PresetChanges:
    """A run's setup, as changes of its nearest preset."""
    return compare_with_nearest_preset(store.find_run(visitor_workspace(), run_id).spec)


@as_response
def list_storage(_: None = None) -> list[storage.StoredKind]:
    """What is kept on this machine, by kind."""
    return storage.list_storage(visitor_workspace())


@as_response
def delete_storage(kinds: list[str]) -> storage.Deletion:
    """Deletes all of these kinds but what is in use."""
    return storage.delete_storage(visitor_workspace(), kinds)


def _listing(note: str = "") -> RunListing:
    return {"runs": run_list.list_summaries(visitor_workspace()), "note": note}
