"""Conductor: `python -m app.pipelines.runner JOURNEY` starts a journey's stages one after another, then has them compared.

A small process that computes nothing. It may be killed at any moment: runs go on without it, and starting it again goes on from
what the folder says.
"""

from __future__ import annotations

import fcntl
import os
import subprocess
import sys
import time
from pathlib import Path

from app.core import registry
from app.core.problems import Problem
from app.core.processes import identity
from app.pipelines import pipeline
from app.pipelines.pipeline_run import Journey
from app.planning import preflight
from app.runs import store
from app.runs.store import Run, write_json
from app.setup.spec import Launch

PATIENCE = 0.5
DONE, FAILED, REFUSED = 0, 1, 2


def main() -> int:
    """0 done, 1 a stage did not finish, 2 somebody else conducts it."""
    journey = Journey(Path(sys.argv[1]).resolve())
    with (journey.path / ".lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return REFUSED
        write_json(journey.path / "handle.json", identity(os.getpid()))
        try:
            return conduct(journey)
        except Problem as problem:  # the outermost border of this process; its log is the journey's
            print(problem, file=sys.stderr)
            return FAILED


def conduct(journey: Journey) -> int:
    for stage in journey.chain.stages:
        if stage.tries is not None:
            if stage.name not in journey.stages and work(journey, "app.engine.generation.best_of_n_pairs", stage.name):
                return FAILED
            continue
        run = run_of(journey, stage)
        if state(run) != "finished":
            go_on(run)
        if state(run) != "finished":
            return FAILED  # it says itself why; whoever resumes the journey resumes it
    return work(journey, "app.engine.evaluation.compare_stages")


def work(journey: Journey, module: str, *arguments: str) -> int:
    """The exit code of a process that computes for the journey."""
    return subprocess.run(
        [sys.executable, "-m", module, str(journey.path), *arguments], cwd=registry.ROOT, check=False
    ).returncode


def run_of(journey: Journey, stage: pipeline.Stage) -> Run:
    """The stage's run, made when there is none yet or when it was deleted. Raises Problem."""
    begun = journey.stages.get(stage.name)
    if begun and (registry.home("runs") / begun / "spec.json").is_file():
        return store.exact(begun)
    spec = preflight.check(pipeline.spec_of(stage, journey.chain.title, journey.stages))
    run = store.create(spec, Launch(journey=f"{journey.id}/{stage.name}"))
    write_json(journey.path / "stages.json", journey.stages | {stage.name: run.id})
    return run


def state(run: Run) -> str:
    return store.state(run, store.alive(run))


def go_on(run: Run) -> None:
    """Starts or resumes it, unless it runs already, and waits for its end."""
    backend = registry.load("backends", run.launch.machine.partition(":")[0])
    if not store.alive(run):
        backend.start(run, run.launch)
    while store.alive(run):
        time.sleep(PATIENCE)


if __name__ == "__main__":
    sys.exit(main())
