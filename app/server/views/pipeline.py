"""The view of a pipeline or its run, and the server functions that its script calls."""

from __future__ import annotations

import time
from typing import TypedDict

from app.core import registry
from app.core.problems import Problem
from app.pipelines import pipeline, pipeline_run
from app.pipelines.pipeline_run import PipelineRun
from app.planning import launcher
from app.runs import store
from app.runs.records import read_handle
from app.server.error_boundary import as_response
from app.server.views.pipeline_description import (
    PipelineDescription,
    describe_pipeline,
    describe_pipeline_run,
    start_time,
)
from app.server.visitor import visitor_workspace
from components.pipeline import build_pipeline_run
from components.shell import build_view

_START_TIMEOUT = 15.0  # seconds in which the runner process must report that it has started
_MAX_LISTED = 5  # newest pipeline runs


class PipelineRunLine(TypedDict):
    """A pipeline run in a list."""

    id: str
    title: str
    status_text: str
    when: str


def build_pipeline_view() -> None:
    """Builds the view; its script calls the server functions below."""
    with build_view("journey"):
        build_pipeline_run(
            inspect_pipeline, start_pipeline, resume_pipeline_run, stop_pipeline_run, delete_pipeline_run
        )


def pipeline_cards() -> list[PipelineDescription]:
    """All pipelines for the landing view: those for practice, quickest first, then those for real work by card."""
    descriptions = [describe_pipeline(name, pipeline.load_pipeline(name)) for name in registry.names("pipelines")]
    return sorted(descriptions, key=lambda card: (card["gigabytes"] or 0, card["minutes"] or 0, card["id"]))


# -- server functions of the view -----------------------------------------------------------------------------------


@as_response
def inspect_pipeline(name: str) -> PipelineDescription:
    """A pipeline, by its name, or a pipeline run, by its id."""
    if name in registry.names("pipelines"):
        return describe_pipeline(name, pipeline.load_pipeline(name))
    return describe_pipeline_run(pipeline_run.get_pipeline_run(visitor_workspace(), name))


@as_response
def start_pipeline(name: str) -> str:
    """Starts a run of a pipeline and returns its id."""
    run = pipeline_run.create_pipeline_run(
        visitor_workspace(), pipeline_run.require_startable(pipeline.load_pipeline(name))
    )
    _launch_runner(run)
    return run.id


@as_response
def resume_pipeline_run(name: str) -> str:
    """Continues a pipeline run that has stopped; its id."""
    return _launch_runner(pipeline_run.get_pipeline_run(visitor_workspace(), name))


@as_response
def stop_pipeline_run(name: str) -> str:
    """Makes the active stage save and stop; later stages are not started. Returns the id of the stage's run."""
    active_run = pipeline_run.active_run(pipeline_run.get_pipeline_run(visitor_workspace(), name))
    if active_run is None:
        raise Problem("No lesson is being learned at this moment.", advice="Look again in a moment.")
    launcher.send_command(active_run, "stop")
    return active_run.id


@as_response
def delete_pipeline_run(name: str) -> str:
    """Deletes a pipeline run; the runs of its stages stay."""
    pipeline_run.delete_pipeline_run(pipeline_run.get_pipeline_run(visitor_workspace(), name))
    return name


@as_response
def list_newest_pipeline_runs(_: None = None) -> list[PipelineRunLine]:
    """The newest pipeline runs, one line each."""
    newest_runs = pipeline_run.list_pipeline_runs(visitor_workspace())[:_MAX_LISTED]
    return [_pipeline_run_line(run) for run in newest_runs]


def _launch_runner(run: PipelineRun) -> str:
    """Starts the runner process and waits until it has written its handle: before, the page would show no change."""
    handle_path = run.path / "handle.json"
    old_handle, deadline = read_handle(handle_path), time.monotonic() + _START_TIMEOUT
    pipeline_run.start_runner(run)
    while read_handle(handle_path) == old_handle and time.monotonic() < deadline:
        time.sleep(0.1)
    return run.id


def _pipeline_run_line(run: PipelineRun) -> PipelineRunLine:
    """A pipeline run in a list. The line of a damaged one says what is wrong."""
    try:
        description = describe_pipeline_run(run)
    except Problem as problem:  # boundary: the disk, or a file of a later version
        return {
            "id": run.id,
            "title": store.title_from_id(run.id),
            "status_text": str(problem),
            "when": start_time(run),
        }
    return {
        "id": run.id,
        "title": description["title"],
        "status_text": description["status_text"],
        "when": description["when"],
    }
