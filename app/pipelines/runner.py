"""Runner process of a pipeline run: `python -m app.pipelines.runner FOLDER` runs its stages, then compares them.

A light process that only starts others and waits. It can be killed at any time: the current run goes on without it, and
another runner continues from the files in the folder.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

from app.core import paths, platform
from app.core.json_files import write_json
from app.core.problems import Problem
from app.core.processes import process_identity
from app.pipelines import pipeline
from app.pipelines.pipeline_run import PipelineRun
from app.planning import launcher, preflight
from app.runs import store
from app.runs.records import write_record
from app.runs.store import Run
from app.setup.spec import Launch

_POLL_INTERVAL = 0.5  # seconds
_LOCK_GRACE_SECONDS = 1.0  # that processes which only test the lock may hold it
_DONE, _FAILED, _REFUSED = 0, 1, 2  # exit codes


def main() -> int:
    """Exit code: 0 done, 1 a stage did not finish, 2 another runner is active."""
    pipeline_run = PipelineRun(Path(sys.argv[1]).resolve())
    with pipeline_run.runner_lock.open("w") as lock:
        if not platform.lock_file_within(lock, _LOCK_GRACE_SECONDS):
            return _REFUSED
        write_record(pipeline_run.path / "handle.json", process_identity(os.getpid()))
        try:
            return _run_stages(pipeline_run)
        except Problem as problem:  # boundary: the end of this process, whose stderr is log.txt
            print(problem, file=sys.stderr)
            return _FAILED


def _run_stages(pipeline_run: PipelineRun) -> int:
    """Runs all stages that are not finished, then the comparison. Returns an exit code."""
    for stage in pipeline_run.pipeline.stages:
        if stage.tries is not None:
            if stage.name in pipeline_run.stages:
                continue
            if _run_module(pipeline_run, "app.engine.generation.best_of_n_pairs", stage.name) != 0:
                return _FAILED
            continue
        run = _get_or_create_run(pipeline_run, stage)
        if _run_state(run) != "finished":
            _train_until_end(run)
        if _run_state(run) != "finished":
            return _FAILED  # its events say why; resuming the pipeline run resumes it
    return _run_module(pipeline_run, "app.engine.evaluation.compare_stages")


def _run_module(pipeline_run: PipelineRun, module: str, *arguments: str) -> int:
    """Runs a module that works on this pipeline run, and returns its exit code."""
    command = [sys.executable, "-m", module, str(pipeline_run.path), *arguments]
    return subprocess.run(command, cwd=paths.ROOT, check=False).returncode


def _get_or_create_run(pipeline_run: PipelineRun, stage: pipeline.Stage) -> Run:
    """The run of the stage, created when there is none or when it was deleted. Raises Problem."""
    run_id = pipeline_run.stages.get(stage.name)
    if run_id and (pipeline_run.workspace.runs / run_id / "spec.json").is_file():
        return store.get_run(pipeline_run.workspace, run_id)
    spec = preflight.check_spec(pipeline.stage_spec(stage, pipeline_run.pipeline.title, pipeline_run.stages))
    run = launcher.create_run(pipeline_run.workspace, spec, Launch(journey=f"{pipeline_run.id}/{stage.name}"))
    write_json(pipeline_run.path / "stages.json", pipeline_run.stages | {stage.name: run.id})
    return run


def _run_state(run: Run) -> str:
    return store.run_state(run, store.is_alive(run))


def _train_until_end(run: Run) -> None:
    """Starts or resumes the run, unless it is running, and waits for its end."""
    if not store.is_alive(run):
        launcher.start_run(run, run.launch)
    while store.is_alive(run):
        time.sleep(_POLL_INTERVAL)


if __name__ == "__main__":
    sys.exit(main())
