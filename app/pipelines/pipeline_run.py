"""Pipeline runs: executions of a pipeline.

Each is a folder that records which run each stage became and how they compare.
"""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NotRequired, TypedDict

from app.core import platform, processes
from app.core.json_files import DamagedFile, read_json, write_json
from app.core.problems import Problem
from app.core.validation import validate
from app.core.workspace import Workspace
from app.history import run_list
from app.pipelines.pipeline import Pipeline, Stage
from app.pipelines.pipeline_preflight import check_pipeline
from app.planning import launcher
from app.runs import cleanup, store
from app.runs.records import read_handle, read_record, write_record
from app.runs.store import Run


@dataclass(frozen=True)
class PipelineRun:
    """The folder of one execution.

    Files: chain.json (the pipeline), stages.json, tries.json, compared.json, handle.json (the identity of its runner
    process) and log.txt. All are read at each call.
    """

    path: Path

    @property
    def id(self) -> str:
        """The name of the folder, as of a run."""
        return self.path.name

    @property
    def workspace(self) -> Workspace:
        """Where it belongs: its folder lies in the workspace's folder of pipelines."""
        return Workspace(self.path.parent.parent)

    @property
    def pipeline(self) -> Pipeline:
        """The pipeline as it was when this execution was created."""
        return validate(Pipeline, read_record(self.path / "chain.json"), "The pipeline in chain.json")

    @property
    def stages(self) -> dict[str, str]:
        """{stage: run id, or the source of the pairs that it made} of the stages that have started.

        Raises DamagedFile.
        """
        stages: dict[str, str] = read_json(
            self.path / "stages.json", dict[str, str], "Delete this file: the lessons then begin again."
        )
        return stages

    @property
    def compared(self) -> dict[str, Any]:
        """The comparison, empty until it is made: {"rewards": names, "rows": [{"stage", "scores": {reward: mean},
        "by": {category: {reward: mean}}}]}. A damaged one counts as not made: it is made again when this is resumed."""
        try:
            return read_record(self.path / "compared.json")
        except DamagedFile:  # boundary: the disk
            return {}

    @property
    def runner_lock(self) -> Path:
        """The file that its runner process holds locked for as long as it lives."""
        return self.path / ".lock"

    @property
    def is_active(self) -> bool:
        """Whether its runner process is alive."""
        return platform.is_locked(self.runner_lock) or processes.is_alive(read_handle(self.path / "handle.json"))

    @property
    def tries(self) -> dict[str, dict[str, int]]:
        """{stage: {"pairs", "prompts"}}, the counts of the stages that made pairs; empty where the file is damaged, as
        they are only shown."""
        try:
            counts: dict[str, dict[str, int]] = read_json(self.path / "tries.json", dict[str, _PairCounts])
        except DamagedFile:  # boundary: the disk
            return {}
        return counts

    def stage_run(self, stage: str) -> Run | None:
        """The run of a stage; None before it starts, and for a stage that makes pairs.

        Raises Problem when it was deleted, and DamagedFile.
        """
        run_id = self.stages.get(stage)
        return store.get_run(self.workspace, run_id) if run_id and store.RUN_ID_PATTERN.fullmatch(run_id) else None


class _PairCounts(TypedDict):
    pairs: int
    prompts: int


class StageSummary(TypedDict):
    """How far a stage is. run: the id of its run. result: of a run, or the number of pairs, in words. doubt: the severity
    of its run's worst diagnosis, once it has ended."""

    name: str
    sentence: str
    run: str | None
    state: str
    result: str | None
    doubt: NotRequired[str | None]


class PipelineRunSummary(TypedDict):
    """How far a pipeline run is. state: running, finished, waiting for a person to resume it, as after a stop, a
    failure or a power cut, or damaged. problem: of a damaged one."""

    id: str
    title: str
    state: str
    stages: list[StageSummary]
    problem: NotRequired[str]


def create_pipeline_run(workspace: Workspace, pipeline: Pipeline) -> PipelineRun:
    """Makes the folder of a new pipeline run. It appears complete or not at all."""
    folder = workspace.pipelines / store.new_run_id(pipeline.title)
    hidden_folder = folder.with_name(f".{folder.name}")
    hidden_folder.mkdir()
    write_record(hidden_folder / "chain.json", pipeline.model_dump(by_alias=True, exclude_none=True))
    write_json(hidden_folder / "stages.json", {})
    return PipelineRun(hidden_folder.rename(folder))


def list_pipeline_runs(workspace: Workspace) -> list[PipelineRun]:
    """All pipeline runs, newest first."""
    folders = [path for path in workspace.pipelines.iterdir() if store.RUN_ID_PATTERN.fullmatch(path.name)]
    return [PipelineRun(path) for path in sorted(folders, reverse=True)]


def get_pipeline_run(workspace: Workspace, pipeline_run_id: str) -> PipelineRun:
    """The pipeline run with exactly this id. Raises Problem."""
    if (
        not store.RUN_ID_PATTERN.fullmatch(pipeline_run_id)
        or not (workspace.pipelines / pipeline_run_id / "chain.json").is_file()
    ):
        raise Problem("There is no such journey here.", advice="`python -m app pipelines runs` lists them.")
    return PipelineRun(workspace.pipelines / pipeline_run_id)


def find_pipeline_run(workspace: Workspace, name: str) -> PipelineRun:
    """The one with this id, with an id that starts or ends so, or the newest for `last`.

    Raises Problem unless exactly one matches.
    """
    matching_runs = [
        pipeline_run
        for pipeline_run in list_pipeline_runs(workspace)
        if name in ("last", pipeline_run.id)
        or (len(name) >= 4 and (pipeline_run.id.startswith(name) or pipeline_run.id.endswith(name)))
    ]
    if not matching_runs or (
        name != "last" and len(matching_runs) > 1 and all(pipeline_run.id != name for pipeline_run in matching_runs)
    ):
        raise Problem(
            f"There is no one pipeline run called “{name}”.", advice="`python -m app pipelines runs` lists them."
        )
    return matching_runs[0]


def summarize_pipeline_run(pipeline_run: PipelineRun) -> PipelineRunSummary:
    """How far the stages of a pipeline run are. Raises Problem when chain.json or stages.json is damaged."""
    pipeline = pipeline_run.pipeline
    stages = [
        _best_of_n_summary(pipeline_run, stage) if stage.tries is not None else _training_summary(pipeline_run, stage)
        for stage in pipeline.stages
    ]
    is_finished = all(stage["state"] == "finished" for stage in stages) and bool(pipeline_run.compared)
    state = "running" if pipeline_run.is_active else "finished" if is_finished else "waiting"
    return {"id": pipeline_run.id, "title": pipeline.title, "state": state, "stages": stages}


def list_pipeline_summaries(workspace: Workspace) -> list[PipelineRunSummary]:
    """The summaries of all pipeline runs, newest first. A damaged one gets the state “damaged” and no stages, so that it
    does not hide the others."""
    return [_summary_or_problem(pipeline_run) for pipeline_run in list_pipeline_runs(workspace)]


def _summary_or_problem(pipeline_run: PipelineRun) -> PipelineRunSummary:
    try:
        return summarize_pipeline_run(pipeline_run)
    except Problem as problem:  # boundary: the disk, or a file of a later version
        title = store.title_from_id(pipeline_run.id)
        return {"id": pipeline_run.id, "title": title, "state": "damaged", "stages": [], "problem": str(problem)}


def _training_summary(pipeline_run: PipelineRun, stage: Stage) -> StageSummary:
    """The summary of a stage that is a run."""
    summary: StageSummary = {
        "name": stage.name,
        "sentence": stage.sentence,
        "run": None,
        "state": "not begun",
        "result": None,
    }
    try:
        run = pipeline_run.stage_run(stage.name)
    except DamagedFile:
        raise
    except Problem:  # it was deleted; the stage can run again
        return summary
    if run is None:
        return summary
    run_summary = run_list.summarize_run(run, store.is_alive(run))
    doubt = None if run_summary["alive"] else run_summary["doubt"]
    return {**summary, "run": run.id, "state": run_summary["state"], "result": run_summary["result"], "doubt": doubt}


def _best_of_n_summary(pipeline_run: PipelineRun, stage: Stage) -> StageSummary:
    """The summary of a stage that makes pairs; it only records that they are complete."""
    pair_counts = pipeline_run.tries.get(stage.name)
    result = f"{pair_counts['pairs']} pairs from {pair_counts['prompts']} prompts" if pair_counts else None
    state = "finished" if stage.name in pipeline_run.stages else "not begun"
    return {"name": stage.name, "sentence": stage.sentence, "run": None, "state": state, "result": result}


def require_startable(pipeline: Pipeline) -> Pipeline:
    """The pipeline, when every stage could start now. Raises Problem otherwise."""
    check_pipeline(pipeline)
    return pipeline


def start_runner(pipeline_run: PipelineRun) -> None:
    """Starts the runner process, detached. Raises Problem when one is alive, or when what it reads is damaged."""
    if pipeline_run.is_active:
        raise Problem(f"The journey {pipeline_run.id} is under way.", advice="Wait for it, or stop it.")
    summarize_pipeline_run(pipeline_run)
    with (pipeline_run.path / "log.txt").open("ab") as log:
        processes.start_detached("app.pipelines.runner", str(pipeline_run.path), output=log)


def active_run(pipeline_run: PipelineRun) -> Run | None:
    """The run of the stage that trains now, or None."""
    stage_runs = [
        Run(pipeline_run.workspace.runs / name)
        for name in pipeline_run.stages.values()
        if store.RUN_ID_PATTERN.fullmatch(name)
    ]
    return next((run for run in stage_runs if store.is_alive(run)), None)


def stop_active_run(pipeline_run: PipelineRun) -> str:
    """Stops the run of the current stage. Returns how far that went, as the backend's `stop` does."""
    run = active_run(pipeline_run)
    return launcher.stop_run(run) if run else "not running"


def delete_pipeline_run(pipeline_run: PipelineRun) -> None:
    """Deletes the folder; the runs of its stages stay. Raises Problem while it is active."""
    with platform.keep_unlocked(pipeline_run.runner_lock) as is_unlocked:
        if not is_unlocked or pipeline_run.is_active or _has_active_run(pipeline_run):
            title = _summary_or_problem(pipeline_run)["title"]
            raise Problem(f"“{title}” is under way, so it cannot be removed.", advice="Stop it first.")
        shutil.rmtree(cleanup.hide_folder(pipeline_run.path))


def _has_active_run(pipeline_run: PipelineRun) -> bool:
    """Whether the run of a stage trains now. False where it is not known which run that is: runs outlive this folder."""
    try:
        return active_run(pipeline_run) is not None
    except DamagedFile:  # boundary: the disk
        return False
