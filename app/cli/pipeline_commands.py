"""Commands `chain …`: pipelines of several runs, and starting, following and stopping a pipeline run."""

from __future__ import annotations

import sys
import time
from typing import Annotated, Any

import typer

from app.cli.terminal import existing_file, parse_setting, print_output
from app.core import registry
from app.core.problems import Problem
from app.pipelines import pipeline, pipeline_run
from app.pipelines.pipeline import Pipeline
from app.pipelines.pipeline_run import PipelineRun
from app.setup import spec as specs

DONE, FAILED = 0, 1
app = typer.Typer(help="Ways of several runs that build on one another.", no_args_is_help=True)

_Json = Annotated[bool, typer.Option("--json", help="Print one JSON document.")]
_PipelineRunId = Annotated[
    str, typer.Argument(metavar="JOURNEY", help="A journey's id, its beginning or end, or “last”.")
]
_Detach = Annotated[bool, typer.Option("--detach", help="Return at once; the journey goes on by itself.")]


@app.command("list")
def list_pipelines(as_json: _Json = False) -> None:
    """The chains there are."""
    pipelines = [
        {"name": name}
        | pipeline.load_pipeline(name).model_dump(include={"title", "sentence", "minutes", "needs"})
        | {"stages": [stage.name for stage in pipeline.load_pipeline(name).stages]}
        for name in registry.names("pipelines")
    ]
    print_output(
        pipelines, as_json, lambda c: f"{c['name']:<20} {c['minutes']:>4} min  {c['title']}: {' → '.join(c['stages'])}"
    )


@app.command()
def run(
    name: Annotated[str, typer.Argument(metavar="CHAIN", help="A chain's name, or a .toml file.")],
    changes: Annotated[
        list[str], typer.Option("--set", metavar="STAGE.A.B=JSON", help="Change one setting of a stage.")
    ] = (),  # type: ignore[assignment]
    detach: _Detach = False,
    as_json: _Json = False,
) -> None:
    """Starts a journey along a chain and waits for its end, unless detached."""
    journey = pipeline_run.create_pipeline_run(
        pipeline_run.require_startable(with_changed_settings(_read_pipeline(name), changes))
    )
    _start_and_wait(journey, detach, as_json)


@app.command("journeys")
def list_pipeline_runs(as_json: _Json = False) -> None:
    """Every journey and how far it is, newest first."""
    print_output(
        [pipeline_run.summarize_pipeline_run(stored_run) for stored_run in pipeline_run.list_pipeline_runs()],
        as_json,
        lambda j: f"{j['id']:<48} {j['state']:<10} {j['title']}",
    )


@app.command("show")
def show_pipeline_run(run_id: _PipelineRunId, as_json: _Json = False) -> None:
    """How far a journey is, and the table that compares its stages."""
    journey = pipeline_run.find_pipeline_run(run_id)
    summary = pipeline_run.summarize_pipeline_run(journey) | {"compared": journey.compared}
    print_output(summary, as_json, _format_pipeline_run)


@app.command()
def resume(run_id: _PipelineRunId, detach: _Detach = False, as_json: _Json = False) -> None:
    """Goes on from the first stage that is not finished."""
    journey = pipeline_run.find_pipeline_run(run_id)
    if journey.is_active:
        raise Problem(
            f"The journey {journey.id} is under way.", advice=f"See how far: python -m app chain show {journey.id}"
        )
    _start_and_wait(journey, detach, as_json)


@app.command()
def stop(run_id: _PipelineRunId, as_json: _Json = False) -> None:
    """Stops the stage that runs after saving it; the journey can be resumed."""
    outcome = pipeline_run.stop_active_run(pipeline_run.find_pipeline_run(run_id))
    print_output(
        {"how": outcome}, as_json, lambda _: "Stopped and saved." if outcome != "not running" else "It was not running."
    )


@app.command()
def remove(run_id: _PipelineRunId, as_json: _Json = False) -> None:
    """Removes a journey and its comparison; the runs that it became stay."""
    journey = pipeline_run.find_pipeline_run(run_id)
    pipeline_run.delete_pipeline_run(journey)
    print_output({"removed": journey.id}, as_json, lambda removed: f"Removed {removed['removed']}. Its runs stay.")


def _read_pipeline(name: str) -> Pipeline:
    """A pipeline by its name, or from a .toml or .json file."""
    if name in registry.names("pipelines"):
        return pipeline.load_pipeline(name)
    return pipeline.parse_pipeline(specs.read_settings_file(existing_file(name)))


def with_changed_settings(base_pipeline: Pipeline, changes: list[str]) -> Pipeline:
    """The pipeline with the changes of --set, each in the setup of one stage. Raises Problem for a change that sets nothing."""
    pipeline_fields = base_pipeline.model_dump(by_alias=True, exclude_none=True)
    for change in changes:
        path, equals, text = change.partition("=")
        name, dot, setting_path = path.partition(".")
        stage = next((candidate for candidate in pipeline_fields["stages"] if candidate["name"] == name), None)
        if not (equals and dot and stage):
            raise Problem(
                f"“{change}” sets nothing.", advice="Write it as stage.path=value, such as sft.knobs.epochs=2."
            )
        section = "setup" if "setup" in stage else "tries"
        stage[section] = specs.set_value(stage[section], setting_path, parse_setting(text))
    return pipeline.parse_pipeline(pipeline_fields)


def _start_and_wait(journey: PipelineRun, detach: bool, as_json: bool) -> None:
    """Starts the pipeline run and, unless detached, waits for its end and exits with its code."""
    pipeline_run.start_runner(journey)
    if detach:
        print_output(
            {"journey": journey.id},
            as_json,
            lambda j: f"Started {j['journey']}. See how far: python -m app chain show {j['journey']}",
        )
        return
    raise typer.Exit(_print_stage_states(journey, as_json))


def _print_stage_states(journey: PipelineRun, as_json: bool) -> int:
    """Prints each stage's state as it changes, until the pipeline run ends; Ctrl-C leaves it running. Returns the exit code."""
    printed_states: dict[str, str] = {}
    try:
        while _wait_while_running(journey):
            for stage in pipeline_run.summarize_pipeline_run(journey)["stages"]:
                if not as_json and printed_states.get(stage["name"]) != stage["state"]:
                    printed_states[stage["name"]] = stage["state"]
                    print(f"{stage['name']:<16} {stage['state']} {stage['result'] or ''}".rstrip(), flush=True)
    except KeyboardInterrupt:
        print(f"\nThe journey goes on. Stop it: python -m app chain stop {journey.id}", file=sys.stderr)
        return DONE
    summary = pipeline_run.summarize_pipeline_run(journey) | {"compared": journey.compared}
    print_output(summary, as_json, _format_pipeline_run)
    return DONE if summary["state"] == "finished" else FAILED


def _wait_while_running(journey: PipelineRun, seconds: float = 1.0) -> bool:
    """Waits `seconds`; True while the pipeline run goes on. A runner that was just started gets time to write its handle."""
    deadline = time.monotonic() + 20
    while not (journey.path / "handle.json").exists() and time.monotonic() < deadline:
        time.sleep(0.1)
    time.sleep(seconds)
    return journey.is_active


def _format_pipeline_run(summary: dict[str, Any]) -> str:
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


def _format_score(score: float | None) -> str:
    """A score with three digits; a dash where there is none."""
    return "–" if score is None else f"{score:.3f}"
