"""The pipeline view: what each stage does, its progress, and a comparison of the results."""

from __future__ import annotations

import time
from functools import lru_cache
from pathlib import Path
from typing import Any

from app.core import paths, registry
from app.core.problems import Problem
from app.engine.contracts import load_method
from app.history import metric_labels, run_list, summary
from app.pipelines import pipeline, pipeline_run
from app.pipelines.pipeline import Pipeline, Stage
from app.pipelines.pipeline_run import PipelineRun
from app.runs import store
from app.server.views.choose import as_response
from components.pipeline import build_pipeline_run
from components.progress import STATE_TITLES
from components.shell import SharedComponents, build_view

_START_TIMEOUT = 15.0  # seconds in which the runner process must report that it has started
_MAX_LISTED = 5  # newest pipeline runs
_NOT_BEGUN = "not begun"
_HALTED_SENTENCES = {
    "failed": "Lesson {at} failed. Look at it for the reason, then go on.",
    "lost": "Lesson {at} ended without a last word. Go on to take it up again.",
    "stopped": "Stopped in lesson {at}. What it learned is saved: go on from there.",
}


def build_pipeline_view(_shared: SharedComponents | None = None) -> None:
    """Builds the view; its script calls the server functions below."""
    with build_view("journey"):
        build_pipeline_run(look, start, go_on, stop, forget)


def pipeline_cards() -> list[dict[str, Any]]:
    """All pipelines for the landing view, quickest first."""
    descriptions = [_describe_pipeline(name, pipeline.load_pipeline(name)) for name in registry.names("pipelines")]
    return sorted(descriptions, key=lambda description: (description["minutes"], description["id"]))


# -- server functions of the view -----------------------------------------------------------------------------------


@as_response
def look(name: str) -> dict[str, Any]:
    """A pipeline, by its name, or a pipeline run, by its id."""
    if name in registry.names("pipelines"):
        return _describe_pipeline(name, pipeline.load_pipeline(name))
    return _describe_run(pipeline_run.get_pipeline_run(name))


@as_response
def start(name: str) -> str:
    """Starts a run of a pipeline and returns its id."""
    run = pipeline_run.create_pipeline_run(pipeline_run.require_startable(pipeline.load_pipeline(name)))
    _launch_runner(run)
    return run.id


@as_response
def go_on(name: str) -> str:
    """Continues a pipeline run that has stopped; its id."""
    return _launch_runner(pipeline_run.get_pipeline_run(name))


@as_response
def stop(name: str) -> str:
    """Makes the active stage save and stop; later stages are not started. Returns the id of the stage's run."""
    active_run = pipeline_run.active_run(pipeline_run.get_pipeline_run(name))
    if active_run is None:
        raise Problem("No lesson is being learned at this moment.", advice="Look again in a moment.")
    registry.load_module("backends", active_run.handle["backend"]).control(active_run.handle, "stop")
    return active_run.id


@as_response
def forget(name: str) -> str:
    """Deletes a pipeline run; the runs of its stages stay."""
    pipeline_run.delete_pipeline_run(pipeline_run.get_pipeline_run(name))
    return name


@as_response
def newest(_: Any = None) -> list[dict[str, Any]]:
    """The newest pipeline runs, one line each."""
    descriptions = [_describe_run(run) for run in pipeline_run.list_pipeline_runs()[:_MAX_LISTED]]
    return [{field: description[field] for field in ("id", "title", "words", "when")} for description in descriptions]


def _launch_runner(run: PipelineRun) -> str:
    """Starts the runner process and waits until it has written its handle: before, the page would show no change."""
    handle_path = run.path / "handle.json"
    old_handle, deadline = store.read_json(handle_path), time.monotonic() + _START_TIMEOUT
    pipeline_run.start_runner(run)
    while store.read_json(handle_path) == old_handle and time.monotonic() < deadline:
        time.sleep(0.1)
    return run.id


# -- descriptions for the view --------------------------------------------------------------------------------------


def _describe_pipeline(name: str, definition: Pipeline) -> dict[str, Any]:
    """A pipeline that has not been started."""
    return _describe_header(name, definition) | {
        "phase": "new",
        "words": "Not started",
        "table": None,
        "stages": [
            _describe_lesson(definition, stage.name) | {"state": _NOT_BEGUN, "words": "Not begun"}
            for stage in definition.stages
        ],
    }


def _describe_header(name: str, definition: Pipeline) -> dict[str, Any]:
    return {
        "id": name,
        "title": definition.title,
        "sentence": definition.sentence,
        "minutes": definition.minutes,
        "needs": definition.needs,
        "prompts": definition.measure.prompts,
        "measures": _reward_columns(definition),
    }


def _describe_lesson(definition: Pipeline, name: str) -> dict[str, Any]:
    stage: Stage = definition.stage(name)
    method_name = (stage.setup or {}).get("method")
    return {
        "title": _title_from_name(name),
        "sentence": stage.sentence,
        "lesson": load_method(method_name).title if method_name else "",
    }


def _describe_run(run: PipelineRun) -> dict[str, Any]:
    definition, run_summary = run.pipeline, pipeline_run.summarize_pipeline_run(run)
    stages = [_describe_stage(definition, stage) for stage in run_summary["stages"]]
    phase = _phase_of(run_summary["state"], stages)
    return _describe_header(run.id, definition) | {
        "phase": phase,
        "words": _status_sentence(run, phase, stages),
        "stages": stages,
        "table": _comparison_table(definition, run.compared),
        "when": time.strftime("%d %b, %H:%M", time.strptime(run.id[:15], "%Y%m%d-%H%M%S")).lstrip("0"),
        "last": next(
            (stage["run"] for stage in reversed(stages) if stage["run"] and stage["state"] == "finished"), None
        ),
    }


def _phase_of(state: str, stages: list[dict[str, Any]]) -> str:
    """One of "running", "comparing", "finished", and "waiting" (for a person)."""
    all_finished = all(stage["state"] == "finished" for stage in stages)
    return "comparing" if state == "running" and all_finished else state


def _describe_stage(definition: Pipeline, stage_summary: dict[str, Any]) -> dict[str, Any]:
    """One stage: what it does, the id of its run, and its progress."""
    run_id = stage_summary["run"] if store.RUN_ID_PATTERN.fullmatch(stage_summary["run"] or "") else None
    description = _describe_lesson(definition, stage_summary["name"]) | {
        "run": run_id,
        "state": stage_summary["state"],
        "words": STATE_TITLES.get(stage_summary["state"], stage_summary["state"].capitalize()),
        "result": stage_summary["result"],
    }
    if not run_id:
        return description
    stage_run = store.Run(paths.home("runs") / run_id)
    run_summary = run_list.summarize_run(stage_run, store.is_alive(stage_run))
    ended_at_ns = stage_run.events.stat().st_mtime_ns if stage_run.events.exists() and not run_summary["alive"] else 0
    run_progress = {field: run_summary[field] for field in ("alive", "step", "of", "seconds_left")}
    seconds = _training_seconds(stage_run.events, ended_at_ns) if ended_at_ns else None
    return description | run_progress | {"seconds": seconds}


@lru_cache(maxsize=256)
def _training_seconds(events: Path, _modified_ns: int) -> float:
    """Seconds of work over all attempts of a run. _modified_ns: only a cache key."""
    times_by_attempt: dict[int, list[float]] = {}
    for event in summary.sample_events(events):
        times_by_attempt.setdefault(event["attempt"], []).append(event["time"])
    return sum(max(times) - min(times) for times in times_by_attempt.values())


def _status_sentence(run: PipelineRun, phase: str, stages: list[dict[str, Any]]) -> str:
    """The state of a pipeline run in a sentence."""
    stage_number, current_stage = next(
        ((number, stage) for number, stage in enumerate(stages, 1) if stage["state"] != "finished"),
        (len(stages), stages[-1]),
    )
    if phase == "finished":
        return f"Finished. {_outcome_sentence(run)}"
    if phase == "comparing":
        return "All lessons are learned. Their results are asked the same questions now."
    if phase == "running":
        return f"Lesson {stage_number} of {len(stages)}: {current_stage['title']}"
    if current_stage["state"] in _HALTED_SENTENCES:
        return _HALTED_SENTENCES[current_stage["state"]].format(at=stage_number)
    is_finished = current_stage["state"] == "finished"
    reason = "The comparison did not end." if is_finished else f"Lesson {stage_number} has not begun."
    return " ".join(filter(None, [reason, _last_log_line(run), "Go on to try again."]))


def _outcome_sentence(run: PipelineRun) -> str:
    """Sentence about the change of the first reward, from the base model to the last result."""
    compared, first_column = run.compared, _reward_columns(run.pipeline)[0]
    first_and_last = [compared["rows"][index]["scores"].get(first_column["name"]) for index in (0, -1)]
    if None in first_and_last or len(compared["rows"]) < 2:
        return ""
    before, after = (summary.format_metric("", score) for score in first_and_last)
    direction = "rose" if first_and_last[1] > first_and_last[0] else "fell"
    change = f"stayed at {after}" if before == after else f"{direction} from {before} to {after}"
    return f"“{first_column['title']}” {change}."


def _last_log_line(run: PipelineRun) -> str:
    """The last line of the runner's log, at most 300 characters."""
    log = run.path / "log.txt"
    lines = log.read_text(encoding="utf-8", errors="replace").splitlines() if log.exists() else []
    return next((line.strip()[:300] for line in reversed(lines) if line.strip()), "")


def _reward_columns(definition: Pipeline) -> list[dict[str, str]]:
    """Columns of the comparison: the pipeline's label of each reward, and the reward's title."""
    return [
        {
            "name": reward.label or reward.name,
            "title": _title_from_name(reward.label or reward.name),
            "kind": metric_labels.reward_title(reward.name),
        }
        for reward in definition.measure.rewards
    ]


def _comparison_table(definition: Pipeline, compared: dict[str, Any]) -> dict[str, Any] | None:
    """{"prompts", "columns", "rows": [{"title", "cells"}]}; cells: see `comparison_cell`. None without a comparison."""
    if not compared:
        return None
    names, first_scores = compared["rewards"], compared["rows"][0]["scores"]
    rows = [
        {
            "title": _title_from_name(row["stage"]) if index else "Before",
            "cells": [
                comparison_cell(row["scores"].get(name), first_scores.get(name) if index else None) for name in names
            ],
        }
        for index, row in enumerate(compared["rows"])
    ]
    columns_by_name = {column["name"]: column for column in _reward_columns(definition)}
    header = [columns_by_name.get(name, {"name": name, "title": _title_from_name(name), "kind": ""}) for name in names]
    return {"prompts": compared["prompts"], "columns": header, "rows": rows}


def comparison_cell(score: float | None, previous_score: float | None) -> dict[str, Any]:
    """{"text", "share" (0 to 1, for a bar), "change"} of a score. previous_score: the base model's; None in its row."""
    if score is None:
        return {"text": "–", "share": None, "change": ""}
    share = score if 0 <= score <= 1 else None
    if previous_score is None:
        return {"text": summary.format_metric("", score), "share": share, "change": ""}
    scale, unit = (100, " points") if share is not None and 0 <= previous_score <= 1 else (1, "")
    change = round((score - previous_score) * scale, 0 if scale == 100 else 2)
    change_text = f"{'+' if change > 0 else '−'}{abs(change):g}{unit}" if change else "as before"
    return {"text": summary.format_metric("", score), "share": share, "change": change_text}


def _title_from_name(name: str) -> str:
    return name.replace("_", " ").capitalize()
