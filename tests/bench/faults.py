"""Faults: kills at random moments, torn lines, damaged files, a full disk, a step of the clock. Every run finishes or can be resumed, no event of it is lost or duplicated, and its result is the best checkpoint."""

from __future__ import annotations

import contextlib
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from app.core.paths import ROOT
from app.core.workspace import local_workspace
from app.runs import events, store
from app.runs.events import DoneEvent, Event, ProgressEvent, ResumedEvent, SavedEvent
from app.runs.store import Run
from app.setup.spec import Spec
from backends import local
from tests import engine_forkserver
from tests.bench import _fault_scenes
from tests.support import (
    build_spec,
    conversation_rows,
    metrics_by_step,
    run_losses,
    small_disk,
    start_run,
    train,
    wait_for_run,
    wait_until,
    write_rows,
)

STEPS = 24
ENGINE_KILL_RUNS, OTHER_SCENARIO_RUNS = 100, 10  # in the full version: engine kills, and runs of each other scenario
CORES = 2
KNOBS = {"steps": STEPS, "batch_size": 4, "saves": 5, "eval_answers": 4, "evaluations": 1, "eval_length": 8}


def small_spec(folder: Path) -> Spec:
    """About three seconds of training with five checkpoints and one evaluation in the middle; dropout makes the random state matter."""
    source = write_rows(folder / "chats.jsonl", conversation_rows(60))
    adapter = {"kind": "lora", "r": 4, "alpha": 8, "dropout": 0.1}
    return build_spec(
        "sft",
        source,
        KNOBS,
        adapter=adapter,
        holdout={"share": 0.1},
        rewards=[{"name": "exact_match"}],
        prompts=["Hello"],
    )


def uninterrupted_losses(spec: Spec) -> list[float]:
    return run_losses(train(spec))


def resume(run: Run) -> list[Event]:
    with engine_forkserver.fork_engines():
        local.start(run, run.launch)
    return wait_for_run(run)


def resume_until_finished(run: Run, max_resumes: int = 5) -> list[Event]:
    """Resumes until the run is finished. Raises AssertionError when it is not finished after max_resumes resumes."""
    run_events = wait_for_run(run)
    for _ in range(max_resumes):
        if run_events and isinstance(run_events[-1], DoneEvent) and run_events[-1].why == "finished":
            return run_events
        run_events = resume(run)
    raise AssertionError(f"not done after {max_resumes} resumes: {run_events[-1:]}")


def find_faults(run: Run, expected_losses: list[float]) -> list[str]:
    """Everything that is wrong with a finished run that was interrupted. Must be empty."""
    run_events = events.read_events(run.events)
    faults = []
    if [event.seq for event in run_events] != list(range(1, len(run_events) + 1)):
        faults.append("an event is missing or doubled")
    if sorted(metrics_by_step(run)) != list(range(1, STEPS + 1)):
        faults.append(f"steps missing or too many: {sorted(set(range(1, STEPS + 1)) ^ set(metrics_by_step(run)))}")
    elif run_losses(run) != expected_losses:
        largest_difference = max(
            abs(loss - expected_loss) / abs(expected_loss)
            for loss, expected_loss in zip(run_losses(run), expected_losses, strict=True)
        )
        faults += [f"losses differ by {largest_difference:.1e}"] if largest_difference > 1e-6 else []
    if not (run.adapter / "adapter_model.safetensors").exists():
        return [*faults, "no result"]
    return faults + _fault_scenes.find_result_faults(run)


def kill(pid: int) -> None:
    with contextlib.suppress(ProcessLookupError):  # the process may already have exited by itself
        os.kill(pid, signal.SIGKILL)


def kill_engine(spec: Spec, rng: random.Random) -> Run:
    """SIGKILL at a random moment: a run takes about nine seconds."""
    run = start_run(spec, cold_start=True)
    time.sleep(rng.uniform(0.05, 11.0))
    kill(run.handle["pid"])
    return run


def kill_in_training(spec: Spec, rng: random.Random) -> Run:
    """SIGKILL once a random step is in the event log."""
    run, step = start_run(spec), rng.randint(1, STEPS - 1)
    wait_until(lambda: step in metrics_by_step(run), run=run)
    kill(run.handle["pid"])
    return run


def kill_launcher(spec: Spec, rng: random.Random) -> Run:
    """The process that started the run is killed; the run must continue."""
    spec_path = local_workspace().folder("cache") / "spec.json"
    spec_path.write_text(spec.to_json(), encoding="utf-8")
    earlier_run_ids = {run.id for run in store.list_runs(local_workspace())}
    launcher = subprocess.Popen(
        [sys.executable, "-m", "app", "run", str(spec_path)], cwd=ROOT, stdout=subprocess.DEVNULL
    )
    run = wait_until(
        lambda: next(
            (run for run in store.list_runs(local_workspace()) if run.id not in earlier_run_ids and run.handle), None
        )
    )
    time.sleep(rng.uniform(0, 8))
    launcher.kill()
    launcher.wait()
    return run


def tear_last_line(spec: Spec, rng: random.Random) -> Run:
    """Killed while writing an event: a part of an event is at the end of the file."""
    run = kill_in_training(spec, rng)
    wait_for_run(run)
    last_line = run.events.read_bytes().splitlines(keepends=True)[-1]
    with run.events.open("ab") as events_file:
        events_file.write(last_line[: rng.randint(1, len(last_line) - 1)])
    return run


def tear_newest_checkpoint(spec: Spec, rng: random.Random) -> Run:
    """Killed while saving a checkpoint: the newest checkpoint is incomplete."""
    run = kill_in_training(spec, rng)
    wait_for_run(run)
    checkpoint = run.checkpoints / f"checkpoint-{STEPS - 1}"
    checkpoint.mkdir(parents=True, exist_ok=True)
    (checkpoint / "adapter_model.safetensors").write_bytes(b"half")
    return run


def stop_and_resume(spec: Spec, rng: random.Random) -> Run:
    """Asked to stop at a random step, without a signal."""
    run, step = start_run(spec), rng.randint(1, STEPS // 2)
    wait_until(lambda: step in metrics_by_step(run), run=run)
    stop_outcome = local.stop(run.handle)
    assert stop_outcome == "asked", stop_outcome
    return run


def terminate(spec: Spec, rng: random.Random) -> Run:
    """SIGTERM, as a shutdown sends it, at a random moment: the engine saves, or exits at once when there is nothing to save."""
    run = start_run(spec, cold_start=True)
    wait_until(lambda: events.read_events(run.events), run=run)
    time.sleep(rng.uniform(0, 8))
    with contextlib.suppress(ProcessLookupError):
        os.kill(run.handle["pid"], signal.SIGTERM)
    return run


def kill_after_last_step(spec: Spec, rng: random.Random) -> Run:
    """Killed between its last checkpoint and its result. The moment is too short to hit, so the files that such a kill leaves are written here."""
    run = start_run(spec)
    received_events = [events.parse_line(line.encode()) for line in local.follow(run.handle)]
    last_checkpoint_index = max(
        index
        for index, event in enumerate(received_events)
        if isinstance(event, SavedEvent) and event.what == "checkpoint"
    )
    remaining_lines = run.events.read_bytes().splitlines(keepends=True)[: last_checkpoint_index + 1 + rng.randint(0, 1)]
    run.events.write_bytes(b"".join(remaining_lines))
    shutil.rmtree(run.adapter)
    return run


def damage_newest_checkpoint(spec: Spec, rng: random.Random) -> Run:
    """Killed with two checkpoints, of which the newest is damaged on the disk: the run goes on from the one before."""
    run, step = start_run(spec), rng.randint(10, STEPS - 1)
    wait_until(lambda: step in metrics_by_step(run), run=run)
    kill(run.handle["pid"])
    wait_for_run(run)
    damaged_step = _fault_scenes.damage_newest_checkpoint(run, rng)
    resumed_events = events.of_type(resume(run), ResumedEvent)
    assert resumed_events[-1].from_step < damaged_step, f"resumed from the damaged checkpoint of step {damaged_step}"
    return run


def damage_small_files(spec: Spec, rng: random.Random) -> Run:
    """Killed in training, with all small files damaged on the disk."""
    run = kill_in_training(spec, rng)
    wait_for_run(run)
    _fault_scenes.damage_small_files(run, rng)
    return run


SCENARIOS: dict[str, Callable[[Spec, random.Random], Run]] = {
    "engine killed at any moment": kill_engine,
    "engine killed in training": kill_in_training,
    "launcher killed": kill_launcher,
    "torn last line": tear_last_line,
    "torn checkpoint": tear_newest_checkpoint,
    "stopped and resumed": stop_and_resume,
    "terminated": terminate,
    "killed after the last step": kill_after_last_step,
    "newest checkpoint damaged": damage_newest_checkpoint,
    "small files damaged": damage_small_files,
    "clock set by two hours": _fault_scenes.step_clock,
}


def run_scenario(scenario: str, spec: Spec, expected_losses: list[float], seed: int) -> tuple[Run, list[str]]:
    run = SCENARIOS[scenario](spec, random.Random(seed))
    resume_until_finished(run)
    return run, find_faults(run, expected_losses)


def fill_disk_during_checkpoint(spec: Spec, expected_losses: list[float], folder: Path) -> list[str]:
    """The disk fills up during a checkpoint: the run fails with advice. With free space again it resumes and ends with the same losses."""
    home = os.environ["TUNESMITH_HOME"]
    with small_disk(folder, "64m") as disk:
        os.environ["TUNESMITH_HOME"] = str(disk)
        try:
            run = start_run(spec)
            wait_until(lambda: 2 in metrics_by_step(run), run=run)
            fill_disk(disk / "ballast")
            run_events = wait_for_run(run)
            faults = [] if getattr(run_events[-1], "reason", "") == "disk_full" else [f"ended with {run_events[-1]}"]
            (disk / "ballast").unlink()
            resume_until_finished(run)
            return faults + find_faults(run, expected_losses)
        finally:
            os.environ["TUNESMITH_HOME"] = home


def fill_disk(filler_path: Path) -> None:
    """Takes every free block, also the blocks that are freed while it writes."""
    with filler_path.open("wb", buffering=0) as filler, contextlib.suppress(OSError):
        while filler.write(b"\0" * 4096):
            pass


def kill_first_of_two_queued_runs(spec: Spec) -> list[str]:
    """Two runs on one device: the second waits in the device queue, and starts when the first is killed."""
    first = start_run(spec)
    wait_until(lambda: 1 in metrics_by_step(first), run=first)
    second = start_run(spec, machine="local:cpu")
    wait_until(
        lambda: any(
            event.what == "waiting" for event in events.of_type(events.read_events(second.events), ProgressEvent)
        ),
        run=second,
    )
    second_waited = not metrics_by_step(second)
    kill(first.handle["pid"])
    run_events = wait_for_run(second)
    faults = [] if second_waited else ["the second did not wait"]
    return faults + ([] if isinstance(run_events[-1], DoneEvent) else [f"the second ended with {run_events[-1]}"])


def kill_engine_with_helpers(folder: Path) -> list[str]:
    """The engine is killed while its reward runs code that never ends: nothing that it started outlives it by long."""
    source = write_rows(folder / "chats.jsonl", conversation_rows(20))
    reward = {"name": "own_python", "params": {"code": _fault_scenes.ENDLESS_REWARD}}
    return _fault_scenes.kill_engine_with_helpers(
        build_spec("sft", source, KNOBS, holdout={"share": 0.5}, rewards=[reward])
    )


CASES = [*SCENARIOS, "disk full during a checkpoint", "two launches, first killed", "helpers of a killed engine"]


def run(folder: Path, names: list[str] | None = None) -> list[dict[str, Any]]:
    """Every scenario many times, in one process per core with its own TUNESMITH_HOME; one row per scenario. names: only
    these."""
    spec, names = small_spec(folder), names or CASES
    expected_losses = uninterrupted_losses(spec)
    cases = [
        (scenario, seed)
        for scenario in SCENARIOS
        if scenario in names
        for seed in range(ENGINE_KILL_RUNS if scenario == "engine killed at any moment" else OTHER_SCENARIO_RUNS)
    ]
    with ProcessPoolExecutor(CORES, mp_context=get_context("spawn")) as pool:
        faults_per_case = list(pool.map(ScenarioRunner(spec, expected_losses, folder), cases))
    table = [
        table_row(
            scenario, [faults for (name, _), faults in zip(cases, faults_per_case, strict=True) if name == scenario]
        )
        for scenario in SCENARIOS
        if scenario in names
    ]
    single_cases: dict[str, Callable[[], list[str]]] = {
        "disk full during a checkpoint": lambda: fill_disk_during_checkpoint(spec, expected_losses, folder / "disk"),
        "two launches, first killed": lambda: kill_first_of_two_queued_runs(spec),
        "helpers of a killed engine": lambda: kill_engine_with_helpers(folder / "helpers"),
    }
    return [*table, *(table_row(name, [case()]) for name, case in single_cases.items() if name in names)]


@dataclass(frozen=True)
class ScenarioRunner:
    """Runs one scenario in a process of the pool, in that process's own TUNESMITH_HOME, because each home has its own device queue."""

    spec: Spec
    expected_losses: list[float]
    folder: Path

    def __call__(self, case: tuple[str, int]) -> list[str]:
        os.environ["TUNESMITH_HOME"] = str(self.folder / f"home-{os.getpid()}")
        scenario, seed = case
        try:
            run, faults = run_scenario(scenario, self.spec, self.expected_losses, seed)
        except AssertionError as error:  # one run that cannot be resumed must not end the other hundred runs
            return [f"seed {seed}: {error}"]
        if not faults:
            shutil.rmtree(run.path)  # a hundred runs would fill the disk
        return [f"seed {seed}: {fault}" for fault in faults]


def table_row(scenario: str, faults_per_run: list[list[str]]) -> dict[str, Any]:
    all_faults = [fault for faults in faults_per_run for fault in faults]
    return {
        "what happens": scenario,
        "times": len(faults_per_run),
        "found": "; ".join(all_faults) or "nothing lost, nothing doubled",
    }
