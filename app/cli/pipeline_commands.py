"""Commands `pipelines …`: pipelines of several runs, and starting, following and stopping a pipeline run."""

from __future__ import annotations

import sys
import time
from typing import Annotated, Any

import typer

from app.cli.options import DONE, FAILED, AsJson
from app.cli.terminal import existing_file, format_effort, parse_setting, print_document, print_list, print_text
from app.core import registry
from app.core.json_types import JsonValue
from app.core.problems import Problem
from app.core.workspace import local_workspace
from app.pipelines import pipeline, pipeline_run
from app.pipelines.pipeline import Pipeline
from app.pipelines.pipeline_run import PipelineRun
from app.planning.library_names import change_settings
from app.setup import spec as specs

app = typer.Typer(help="Pipelines: several runs that build on one another.", no_args_is_help=True)

_PipelineRunId = Annotated[
    str, typer.Argument(metavar="PIPELINE_RUN", help="A pipeline run's id, its beginning or end, or “last”.")
]
_Detach = Annotated[bool, typer.Option("--detach", help="Return at once; the pipeline run goes on by itself.")]


@app.command("list")
def list_pipelines(as_json: AsJson = False) -> None:
    """The pipelines: what their stages are, and how long they take."""
    pipelines = [
        {"name": name}
        | pipeline.load_pipeline(name).model_dump(include={"title", "sentence", "minutes", "needs", "gigabytes"})
        | {"stages": [stage.name for stage in pipeline.load_pipeline(name).stages]}
        for name in registry.names("pipelines")
    ]
    print_list(
        pipelines,
        as_json,
        lambda c: (
            f"{c['name']:<20} {format_effort(c['minutes'], c['gigabytes'])}  {c['title']}: {' → '.join(c['stages'])}"
        ),
    )


@app.command()
def run(
    name: Annotated[str, typer.Argument(metavar="PIPELINE", help="A pipeline's name, or a .toml file.")],
    changes: Annotated[
        list[str], typer.Option("--set", metavar="STAGE.A.B=JSON", help="Change one setting of a stage.")
    ] = [],  # noqa: B006 typer copies it
    detach: _Detach = False,
    as_json: AsJson = False,
) -> None:
    """Runs the stages of a pipeline one after another and waits for its end, unless detached."""
    started_run = pipeline_run.create_pipeline_run(
        local_workspace(), pipeline_run.require_startable(with_changed_settings(_read_pipeline(name), changes))
    )
    _start_and_wait(started_run, detach, as_json)


@app.command("runs")
def list_pipeline_runs(as_json: AsJson = False) -> None:
    """Every pipeline run and how far it is, newest first."""
    print_list(
        pipeline_run.list_pipeline_summaries(local_workspace()),
        as_json,
        lambda j: f"{j['id']:<48} {j['state']:<10} {j.get('problem') or j['title']}",
    )


@app.command("show")
def show_pipeline_run(run_id: _PipelineRunId, as_json: AsJson = False) -> None:
    """How far a pipeline run is, and the table that compares its stages."""
    started_run = pipeline_run.find_pipeline_run(local_workspace(), run_id)
    summary = _summarize_with_comparison(started_run)
    print_document(summary, as_json, _format_pipeline_run)


@app.command()
def resume(run_id: _PipelineRunId, detach: _Detach = False, as_json: AsJson = False) -> None:
    """Goes on from the first stage that is not finished."""
    started_run = pipeline_run.find_pipeline_run(local_workspace(), run_id)
    if started_run.is_active:
        raise Problem(
            f"The pipeline run {started_run.id} is running.",
            advice=f"See how far: python -m app pipelines show {started_run.id}",
        )
    _start_and_wait(started_run, detach, as_json)


@app.command()
def stop(run_id: _PipelineRunId, as_json: AsJson = False) -> None:
    """Stops the stage that runs after saving it; the pipeline run can be resumed."""
    outcome = pipeline_run.stop_active_run(pipeline_run.find_pipeline_run(local_workspace(), run_id))
    print_document(
        {"how": outcome}, as_json, lambda _: "Stopped and saved." if outcome != "not running" else "It was not running."
    )


@app.command()
def remove(run_id: _PipelineRunId, as_json: AsJson = False) -> None:
    """Removes a pipeline run and its comparison; the runs of its stages stay."""
    started_run = pipeline_run.find_pipeline_run(local_workspace(), run_id)
    pipeline_run.delete_pipeline_run(started_run)
    print_document(
        {"removed": started_run.id}, as_json, lambda removed: f"Removed {removed['removed']}. Its runs stay."
    )


def _read_pipeline(name: str) -> Pipeline:
    """A pipeline by its name, or from a .toml or .json file."""
    if name in registry.names("pipelines"):
        return pipeline.load_pipeline(name)
    return pipeline.parse_pipeline(specs.read_settings_file(existing_file(name)))


def with_changed_settings(base_pipeline: Pipeline, changes: list[str]) -> Pipeline:
    """The pipeline with the changes of --set, each in the setup of one stage. Raises Problem for a change that sets nothing."""
    pipeline_fields = base_pipeline.model_dump(by_alias=True, exclude_none=True)
    changes_by_stage: dict[str, list[tuple[str, JsonValue]]] = {
        stage["name"]: [] for stage in pipeline_fields["stages"]
    }
    for change in changes:
        path, equals, text = change.partition("=")
        stage_name, dot, setting_path = path.partition(".")
        if not (equals and dot and stage_name in changes_by_stage):
            raise Problem(
                f"“{change}” sets nothing.", advice="Write it as stage.path=value, such as sft.knobs.epochs=2."
            )
        changes_by_stage[stage_name].append((setting_path, parse_setting(text)))
    for stage in pipeline_fields["stages"]:
        section = "setup" if "setup" in stage else "tries"
        stage[section] = change_settings(stage[section], changes_by_stage[stage["name"]])
    return pipeline.parse_pipeline(pipeline_fields)


def _start_and_wait(started_run: PipelineRun, detach: bool, as_json: bool) -> None:
    """Starts the pipeline run and, unless detached, waits for its end and exits with its code."""
    pipeline_run.start_runner(started_run)
    if detach:
        print_document(
            {"pipeline_run": started_run.id},
            as_json,
            lambda _: f"Started {started_run.id}. See how far: python -m app pipelines show {started_run.id}",
        )
        return
    raise typer.Exit(_print_stage_states(started_run, as_json))


def _print_stage_states(started_run: PipelineRun, as_json: bool) -> int:
    """Prints each stage's state as it changes, until the pipeline run ends; Ctrl-C leaves it running. Returns the exit code."""
    printed_states: dict[str, str] = {}
    try:
        while _wait_while_running(started_run):
            for stage in pipeline_run.summarize_pipeline_run(started_run)["stages"]:
                if not as_json and printed_states.get(stage["name"]) != stage["state"]:
                    printed_states[stage["name"]] = stage["state"]
                    print_text(f"{stage['name']:<16} {stage['state']} {stage['result'] or ''}".rstrip(), flush=True)
    except KeyboardInterrupt:
        print_text(
            f"\nThe pipeline run goes on. Stop it: python -m app pipelines stop {started_run.id}", file=sys.stderr
        )
        return DONE
    summary = _summarize_with_comparison(started_run)
    print_document(summary, as_json, _format_pipeline_run)
    return DONE if summary["state"] == "finished" else FAILED


def _wait_while_running(started_run: PipelineRun, seconds: float = 1.0) -> bool:
    """Waits `seconds`; True while the pipeline run goes on. A runner that was just started gets time to write its handle."""
    deadline = time.monotonic() + 20
    while not (started_run.path / "handle.json").exists() and time.monotonic() < deadline:
        time.sleep(0.1)
    time.sleep(seconds)
    return started_run.is_active


def _format_pipeline_run(summary: _ComparedSummary) -> str:
    """The state of each stage, and the table that compares them."""
    lines = [f"{summary['title']}: {summary['state']}"]
    lines += [
        f"  {stage['name']:<16} {stage['state']:<12} {stage['result'] or ''}  {stage['run'] or ''}"
        for stage in summary["stages"]
    ]
    if summary["compared"]:
        names = summary["compared"]["rewards"]
        lines += [
            "",
            f"  {'on ' + str(summary['compared']['prompts']) + ' prompts':<20}"
            + "".join(f"{name:>16}" for name in names),
        ]
        lines += [
            f"  {row['stage']:<20}" + "".join(f"{_format_score(row['scores'].get(name)):>16}" for name in names)
            for row in summary["compared"]["rows"]
        ]
    return "\n".join(lines)


class _ComparedSummary(pipeline_run.PipelineRunSummary):
    """compared: see `PipelineRun.compared`."""

    compared: dict[str, Any]


def _summarize_with_comparison(started_run: PipelineRun) -> _ComparedSummary:
    return {**pipeline_run.summarize_pipeline_run(started_run), "compared": started_run.compared}


def _format_score(score: float | None) -> str:
    """A score with three digits; a dash where there is none."""
    return "–" if score is None else f"{score:.3f}"
