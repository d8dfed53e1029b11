"""Conductor: `python -m app.chains.conductor JOURNEY` starts a journey's stages one after another, then has them compared.

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

from app import preflight, rooms, runs
from app.chains import chain
from app.chains.journeys import Journey
from app.problems import Problem
from app.processes import identity
from app.runs import Run, write_json
from app.spec import Launch

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
            if stage.name not in journey.stages and work(journey, "app.engine.trying.tries", stage.name):
                return FAILED
            continue
        run = run_of(journey, stage)
        if state(run) != "finished":
            go_on(run)
        if state(run) != "finished":
            return FAILED  # it says itself why; whoever resumes the journey resumes it
    return work(journey, "app.engine.compare")


def work(journey: Journey, module: str, *arguments: str) -> int:
    """The exit code of a process that computes for the journey."""
    return subprocess.run(
        [sys.executable, "-m", module, str(journey.path), *arguments], cwd=rooms.ROOT, check=False
    ).returncode


def run_of(journey: Journey, stage: chain.Stage) -> Run:
    """The stage's run, made when there is none yet or when it was deleted. Raises Problem."""
    begun = journey.stages.get(stage.name)
    if begun and (rooms.home("runs") / begun / "spec.json").is_file():
        return runs.exact(begun)
    spec = preflight.check(chain.spec_of(stage, journey.chain.title, journey.stages))
    run = runs.create(spec, Launch(journey=f"{journey.id}/{stage.name}"))
    write_json(journey.path / "stages.json", journey.stages | {stage.name: run.id})
    return run


def state(run: Run) -> str:
    return runs.state(run, runs.alive(run))


def go_on(run: Run) -> None:
    """Starts or resumes it, unless it runs already, and waits for its end."""
    backend = rooms.load("backends", run.launch.machine.partition(":")[0])
    if not runs.alive(run):
        backend.start(run, run.launch)
    while runs.alive(run):
        time.sleep(PATIENCE)


if __name__ == "__main__":
    sys.exit(main())
