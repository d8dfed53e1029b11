"""What the page tells of a pipeline: each stage and its progress, and a comparison of the results.

components/types.d.ts has the same fields for the scripts.
"""

from __future__ import annotations

import time
from functools import lru_cache
from pathlib import Path
from typing import Any, NotRequired, TypedDict

from app.core.dates import format_date
from app.core.workspace import Workspace
from app.engine.contracts import load_method
from app.history import metric_labels, run_list, summary
from app.pipelines import pipeline_run
from app.pipelines.pipeline import Pipeline, Stage
from app.pipelines.pipeline_run import PipelineRun
from app.planning.presets import describe_card
from app.runs import store
from components.progress import STATE_TITLES

_NOT_BEGUN = "not begun"
_HALTED_SENTENCES = {
    "failed": "Lesson {at} failed. Look at it for the reason, then go on.",
    "lost": "Lesson {at} ended without a last word. Go on to take it up again.",
    "stopped": "Stopped in lesson {at}. What it learned is saved: go on from there.",
}


class _Lesson(TypedDict):
    title: str
    sentence: str
    lesson: str


class StageDescription(_Lesson):
    """A stage. lesson: the method's title. run: the id of its run, if it has one, of which the last fields tell."""

    state: str
    status_text: str
    run: NotRequired[str | None]
    result: NotRequired[str | None]
    doubt: NotRequired[str | None]
    alive: NotRequired[bool]
    step: NotRequired[int]
    of: NotRequired[int | None]
    seconds_left: NotRequired[float | None]
    seconds: NotRequired[float | None]


class RewardColumn(TypedDict):
    """A column of the comparison. name: the pipeline's label of the reward. kind: the reward's title."""

    name: str
    title: str
    kind: str


class ComparisonCell(TypedDict):
    """A score. share: 0 to 1, for a bar; None where it has none. change: since the base model, in words."""

    text: str
    share: float | None
    change: str


class ComparisonRow(TypedDict):
    """The scores of one stage's result."""

    title: str
    cells: list[ComparisonCell]


class ComparisonTable(TypedDict):
    """The results of all stages, scored on the same prompts."""

    prompts: int
    columns: list[RewardColumn]
    rows: list[ComparisonRow]


class _Header(TypedDict):
    id: str
    title: str
    sentence: str
    minutes: float | None
    needs: str
    gigabytes: int | None
    prompts: int
    measures: list[RewardColumn]


class PipelineDescription(_Header):
    """A pipeline. phase: new, running, comparing, waiting (for a person) or finished. status_text: its state
    in a sentence."""

    phase: str
    status_text: str
    table: ComparisonTable | None
    stages: list[StageDescription]


class PipelineRunDescription(PipelineDescription):
    """A pipeline run. when: it was started. last: the id of the last finished stage's run."""

    when: str
    last: str | None


def describe_pipeline(name: str, definition: Pipeline) -> PipelineDescription:
    """A pipeline that has not been started."""
    return {
        **_describe_header(name, definition),
        "phase": "new",
        "status_text": "Not started",
        "table": None,
        "stages": [
            {**_describe_lesson(definition, stage.name), "state": _NOT_BEGUN, "status_text": "Not begun"}
            for stage in definition.stages
        ],
    }


def _describe_header(name: str, definition: Pipeline) -> _Header:
    return {
        "id": name,
        "title": definition.title,
        "sentence": definition.sentence,
        "minutes": definition.minutes,
        "needs": describe_card(definition.gigabytes) if definition.gigabytes else definition.needs,
        "gigabytes": definition.gigabytes,
        "prompts": definition.measure.prompts,
        "measures": _reward_columns(definition),
    }


def _describe_lesson(definition: Pipeline, name: str) -> _Lesson:
    stage: Stage = definition.stage(name)
    method_name = (stage.setup or {}).get("method")
    return {
        "title": _title_from_name(name),
        "sentence": stage.sentence,
        "lesson": load_method(method_name).title if method_name else "",
    }


def describe_pipeline_run(run: PipelineRun) -> PipelineRunDescription:
    """A pipeline run: how far its stages are, and the comparison of their results."""
    definition, run_summary = run.pipeline, pipeline_run.summarize_pipeline_run(run)
    stages = [_describe_stage(run.workspace, definition, stage) for stage in run_summary["stages"]]
    phase = _phase_of(run_summary["state"], stages)
    return {
        **_describe_header(run.id, definition),
        "phase": phase,
        "status_text": _status_sentence(run, phase, stages),
        "stages": stages,
        "table": _comparison_table(definition, run.compared),
        "when": start_time(run),
        "last": next(
            (stage["run"] for stage in reversed(stages) if stage["run"] and stage["state"] == "finished"), None
        ),
    }


def start_time(run: PipelineRun) -> str:
    """When a pipeline run was started, as in its id."""
    return format_date(time.mktime(time.strptime(run.id[:15], "%Y%m%d-%H%M%S")))


def _phase_of(state: str, stages: list[StageDescription]) -> str:
    """One of "running", "comparing", "finished", and "waiting" (for a person)."""
    all_finished = all(stage["state"] == "finished" for stage in stages)
    return "comparing" if state == "running" and all_finished else state


def _describe_stage(
    workspace: Workspace, definition: Pipeline, stage_summary: pipeline_run.StageSummary
) -> StageDescription:
    """One stage: what it does, the id of its run, and its progress."""
    run_id = stage_summary["run"] if store.RUN_ID_PATTERN.fullmatch(stage_summary["run"] or "") else None
    description: StageDescription = {
        **_describe_lesson(definition, stage_summary["name"]),
        "run": run_id,
        "state": stage_summary["state"],
        "status_text": STATE_TITLES.get(stage_summary["state"], stage_summary["state"].capitalize()),
        "result": stage_summary["result"],
        "doubt": stage_summary.get("doubt"),
    }
    if not run_id:
        return description
    stage_run = store.Run(workspace.runs / run_id)
    run_summary = run_list.summarize_run(stage_run, store.is_alive(stage_run))
    ended_at_ns = stage_run.events.stat().st_mtime_ns if stage_run.events.exists() and not run_summary["alive"] else 0
    return {
        **description,
        "alive": run_summary["alive"],
        "step": run_summary["step"],
        "of": run_summary["of"],
        "seconds_left": run_summary["seconds_left"],
        "seconds": _training_seconds(stage_run.events, ended_at_ns) if ended_at_ns else None,
    }


@lru_cache(maxsize=256)
def _training_seconds(events: Path, _modified_ns: int) -> float:
    """Seconds of work over all attempts of a run. _modified_ns: only a cache key."""
    times_by_attempt: dict[int, list[float]] = {}
    for event in summary.sample_events(events):
        times_by_attempt.setdefault(event.attempt, []).append(event.time)
    return sum(max(times) - min(times) for times in times_by_attempt.values())


def _status_sentence(run: PipelineRun, phase: str, stages: list[StageDescription]) -> str:
    """The state of a pipeline run in a sentence."""
    stage_number, current_stage = next(
        ((number, stage) for number, stage in enumerate(stages, 1) if stage["state"] != "finished"),
        (len(stages), stages[-1]),
    )
    if phase == "finished":
        doubtful = [f"“{stage['title']}”: {stage.get('result')}" for stage in stages if stage.get("doubt")]
        doubts = f" Look at {'; '.join(doubtful)}." if doubtful else ""
        return f"Finished{', but not all went well' if doubtful else ''}. {_outcome_sentence(run)}{doubts}"
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


def _reward_columns(definition: Pipeline) -> list[RewardColumn]:
    """Columns of the comparison: the pipeline's label of each reward, and the reward's title."""
    return [
        {
            "name": reward.label or reward.name,
            "title": _title_from_name(reward.label or reward.name),
            "kind": metric_labels.reward_title(reward.name),
        }
        for reward in definition.measure.rewards
    ]


def _comparison_table(definition: Pipeline, compared: dict[str, Any]) -> ComparisonTable | None:
    """The comparison as a table; None without a comparison."""
    if not compared:
        return None
    names, first_scores = compared["rewards"], compared["rows"][0]["scores"]
    rows: list[ComparisonRow] = [
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


def comparison_cell(score: float | None, previous_score: float | None) -> ComparisonCell:
    """The cell of a score. previous_score: the base model's; None in its row."""
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
