"""Journeys: one walk along a chain each. The folder is the truth: the chain, which run each stage became, how they compare."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from app.core import paths, registry
from app.core.problems import Problem
from app.core.processes import is_alive
from app.history import run_list
from app.pipelines import pipeline, pipeline_preflight
from app.pipelines.pipeline import Pipeline
from app.runs import store
from app.runs.store import Run, read_json, write_json
from backends import local


@dataclass(frozen=True)
class PipelineRun:
    """Its folder: chain.json, stages.json {stage: run id, or source of the pairs it made}, tries.json {stage: what it told},
    compared.json, handle.json of who conducts it, log.txt."""

    path: Path

    @property
    def id(self) -> str:
        return self.path.name

    @property
    def pipeline(self) -> Pipeline:
        return pipeline.parse_pipeline(read_json(self.path / "chain.json"))

    @property
    def stages(self) -> dict[str, str]:
        """{stage: its run's id, or the source of the pairs that it made}, of those that have begun."""
        return read_json(self.path / "stages.json")

    @property
    def compared(self) -> dict[str, Any]:
        """{"rewards": names, "rows": [{"stage", "scores": {reward: mean}, "by": {category: {reward: mean}}}]}, once it is made."""
        return read_json(self.path / "compared.json")

    @property
    def is_active(self) -> bool:
        """Somebody sees to it that the next stage begins."""
        handle = read_json(self.path / "handle.json")
        return bool(handle) and is_alive(handle)

    @property
    def tries(self) -> dict[str, dict[str, int]]:
        """{stage: {"pairs", "prompts"}} of those that made pairs."""
        return read_json(self.path / "tries.json")

    def stage_run(self, stage: str) -> Run | None:
        name = self.stages.get(stage)
        return store.get_run(name) if name and store.RUN_ID_PATTERN.fullmatch(name) else None


def create_pipeline_run(pipeline: Pipeline) -> PipelineRun:
    """A new folder with its chain; it appears whole or not at all."""
    folder = paths.home("journeys") / store.new_run_id(pipeline.title)
    hidden_folder = folder.with_name(f".{folder.name}")
    hidden_folder.mkdir()
    write_json(hidden_folder / "chain.json", pipeline.model_dump(by_alias=True, exclude_none=True))
    write_json(hidden_folder / "stages.json", {})
    return PipelineRun(hidden_folder.rename(folder))


def list_pipeline_runs() -> list[PipelineRun]:
    """Newest first."""
    folders = [path for path in paths.home("journeys").iterdir() if store.RUN_ID_PATTERN.fullmatch(path.name)]
    return [PipelineRun(path) for path in sorted(folders, reverse=True)]


def get_pipeline_run(name: str) -> PipelineRun:
    """The journey with this very id. Raises Problem."""
    if not store.RUN_ID_PATTERN.fullmatch(name) or not (paths.home("journeys") / name / "chain.json").is_file():
        raise Problem("There is no such journey here.", advice="`python -m app chain journeys` lists them.")
    return PipelineRun(paths.home("journeys") / name)


def find_pipeline_run(name: str) -> PipelineRun:
    """By its id, an unambiguous part of it, or `last`. Raises Problem."""
    matching_runs = [
        pipeline_run
        for pipeline_run in list_pipeline_runs()
        if name in ("last", pipeline_run.id) or (len(name) >= 4 and (pipeline_run.id.startswith(name) or pipeline_run.id.endswith(name)))
    ]
    if not matching_runs or (name != "last" and len(matching_runs) > 1 and all(pipeline_run.id != name for pipeline_run in matching_runs)):
        raise Problem(f"There is no one journey called “{name}”.", advice="`python -m app chain journeys` lists them.")
    return matching_runs[0]


def summarize_pipeline_run(pipeline_run: PipelineRun) -> dict[str, Any]:
    """id, title, state, and of each stage: name, sentence, run, state, result.

    state: running, finished, or waiting: somebody has to resume it, as after a stop, a failure or a power cut.
    """
    pipeline = pipeline_run.pipeline
    stages = [
        _best_of_n_summary(pipeline_run, stage) if stage.tries is not None else _training_summary(pipeline_run, stage) for stage in pipeline.stages
    ]
    is_finished = all(stage["state"] == "finished" for stage in stages) and bool(pipeline_run.compared)
    state = "running" if pipeline_run.is_active else "finished" if is_finished else "waiting"
    return {"id": pipeline_run.id, "title": pipeline.title, "state": state, "stages": stages}


def _training_summary(pipeline_run: PipelineRun, stage: pipeline.Stage) -> dict[str, Any]:
    summary = {"name": stage.name, "sentence": stage.sentence, "run": None, "state": "not begun", "result": None}
    try:
        run = pipeline_run.begun(stage.name)
    except Problem:  # it was deleted: the stage can be made again
        return summary
    if run is None:
        return summary
    run_summary = run_list.summarize_run(run, store.is_alive(run))
    return summary | {"run": run.id, "state": run_summary["state"], "result": run_summary["result"]}


def _best_of_n_summary(pipeline_run: PipelineRun, stage: pipeline.Stage) -> dict[str, Any]:
    """Of a stage that makes pairs: it is told only once they are made."""
    pair_counts = pipeline_run.tries.get(stage.name)
    result = f"{pair_counts['pairs']} pairs from {pair_counts['prompts']} prompts" if pair_counts else None
    state = "finished" if pair_counts and stage.name in pipeline_run.stages else "not begun"
    return {"name": stage.name, "sentence": stage.sentence, "run": None, "state": state, "result": result}


def require_startable(made_of: Pipeline) -> Pipeline:
    """The chain, each stage checked as if it were started now. Raises Problem."""
    pipeline_preflight.check_pipeline(made_of)
    return made_of


def start_runner(pipeline_run: PipelineRun) -> None:
    """Starts its conductor, detached. Raises Problem when it is conducted already."""
    if pipeline_run.is_active:
        raise Problem(f"The journey {pipeline_run.id} is under way.", advice="Wait for it, or stop it.")
    with (pipeline_run.path / "log.txt").open("ab") as log:
        local.start_detached("app.pipelines.runner", str(pipeline_run.path), output=log)


def active_run(pipeline_run: PipelineRun) -> Run | None:
    """The run of the stage that is learned now."""
    stage_runs = [Run(paths.home("runs") / name) for name in pipeline_run.stages.values() if store.RUN_ID_PATTERN.fullmatch(name)]
    return next((run for run in stage_runs if store.is_alive(run)), None)


def stop_active_run(pipeline_run: PipelineRun) -> str:
    """How far stopping its running stage went, as a backend says it."""
    going = active_run(pipeline_run)
    return registry.load_module("backends", going.handle["backend"]).stop(going.handle) if going else "not running"


def delete_pipeline_run(pipeline_run: PipelineRun) -> None:
    """Removes the way and its comparison; the runs that it became stay. Raises Problem while somebody walks it."""
    if pipeline_run.is_active or active_run(pipeline_run):
        raise Problem(f"“{pipeline_run.pipeline.title}” is under way, so it cannot be removed.", advice="Stop it first.")
    shutil.rmtree(store.hide_folder(pipeline_run.path))
