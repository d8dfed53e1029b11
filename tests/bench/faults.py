"""Faults: kills at random moments, torn lines, a full disk. Every run ends or can go on, and nothing in its story is lost or doubled."""

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
from app.runs.events import DoneEvent, Event, ProgressEvent, SavedEvent
from app.runs.store import Run
from app.setup.spec import Spec
from backends import local
from tests import engine_forkserver
from tests.support import chats, losses, small_disk, spec_of, start, steps_of, train, until, wait, write_rows

STEPS = 24
KILLS, OTHERS = 100, 10  # in the full version: kills of the engine, and every other scene
CORES = 2
KNOBS = {"steps": STEPS, "batch_size": 4, "saves": 5, "eval_answers": 4, "evaluations": 1, "eval_length": 8}


def small_spec(folder: Path) -> Spec:
    """About three seconds of training with five checkpoints and a test in the middle; dropout makes randomness count."""
    source = write_rows(folder / "chats.jsonl", chats(60))
    adapter = {"kind": "lora", "r": 4, "alpha": 8, "dropout": 0.1}
    return spec_of(
        "sft",
        source,
        KNOBS,
        adapter=adapter,
        holdout={"share": 0.1},
        rewards=[{"name": "exact_match"}],
        prompts=["Hello"],
    )


def undisturbed(spec: Spec) -> list[float]:
    return losses(train(spec))


def resume(run: Run) -> list[Event]:
    with engine_forkserver.engines():
        local.start(run, run.launch)
    return wait(run)


def until_done(run: Run, most: int = 5) -> list[Event]:
    """Resumes until the run is finished; a run that cannot be resumed fails here."""
    story = wait(run)
    for _ in range(most):
        if story and isinstance(story[-1], DoneEvent) and story[-1].why == "finished":
            return story
        story = resume(run)
    raise AssertionError(f"not done after {most} resumes: {story[-1:]}")


def faults_in(run: Run, expected: list[float]) -> list[str]:
    """What is wrong with a run that was disturbed and is done: nothing may be."""
    story = events.read_events(run.events)
    found = []
    if [event.seq for event in story] != list(range(1, len(story) + 1)):
        found.append("an event is missing or doubled")
    if sorted(steps_of(run)) != list(range(1, STEPS + 1)):
        found.append(f"steps missing or too many: {sorted(set(range(1, STEPS + 1)) ^ set(steps_of(run)))}")
    elif losses(run) != expected:
        worst = max(abs(a - b) / abs(b) for a, b in zip(losses(run), expected, strict=True))
        found += [f"losses differ by {worst:.1e}"] if worst > 1e-6 else []
    if not (run.adapter / "adapter_model.safetensors").exists():
        found.append("no result")
    return found


def kill(pid: int) -> None:
    with contextlib.suppress(ProcessLookupError):  # it may just have ended by itself
        os.kill(pid, signal.SIGKILL)


def kill_engine(spec: Spec, chance: random.Random) -> Run:
    """SIGKILL at a random moment of a life of about nine seconds, then at most once more after a resume."""
    run = start(spec, afresh=True)
    time.sleep(chance.uniform(0.05, 11.0))
    kill(run.handle["pid"])
    return run


def kill_in_training(spec: Spec, chance: random.Random) -> Run:
    """SIGKILL once a random step is told."""
    run, step = start(spec), chance.randint(1, STEPS - 1)
    until(lambda: step in steps_of(run), run=run)
    kill(run.handle["pid"])
    return run


def kill_launcher(spec: Spec, chance: random.Random) -> Run:
    """The process that started the run is killed; the run must not notice."""
    file = local_workspace().folder("cache") / "spec.json"
    file.write_text(spec.to_json(), encoding="utf-8")
    before = {run.id for run in store.list_runs(local_workspace())}
    launcher = subprocess.Popen([sys.executable, "-m", "app", "run", str(file)], cwd=ROOT, stdout=subprocess.DEVNULL)
    run = until(
        lambda: next((run for run in store.list_runs(local_workspace()) if run.id not in before and run.handle), None)
    )
    time.sleep(chance.uniform(0, 8))
    launcher.kill()
    launcher.wait()
    return run


def torn_line(spec: Spec, chance: random.Random) -> Run:
    """Killed in the middle of writing: half an event at the end of the file."""
    run = kill_in_training(spec, chance)
    wait(run)
    whole = run.events.read_bytes().splitlines(keepends=True)[-1]
    with run.events.open("ab") as file:
        file.write(whole[: chance.randint(1, len(whole) - 1)])
    return run


def torn_checkpoint(spec: Spec, chance: random.Random) -> Run:
    """Killed in the middle of a checkpoint: half of one lies there as the newest."""
    run = kill_in_training(spec, chance)
    wait(run)
    half = run.checkpoints / f"checkpoint-{STEPS - 1}"
    half.mkdir(parents=True, exist_ok=True)
    (half / "adapter_model.safetensors").write_bytes(b"half")
    return run


def stop_and_resume(spec: Spec, chance: random.Random) -> Run:
    """Asked to stop at a random step, politely."""
    run, step = start(spec), chance.randint(1, STEPS // 2)
    until(lambda: step in steps_of(run), run=run)
    how = local.stop(run.handle)
    assert how == "asked", how
    return run


def terminate(spec: Spec, chance: random.Random) -> Run:
    """SIGTERM, as a shutdown sends it, at a random moment: it saves, or ends at once when there is nothing to save."""
    run = start(spec, afresh=True)
    until(lambda: events.read_events(run.events), run=run)
    time.sleep(chance.uniform(0, 8))
    with contextlib.suppress(ProcessLookupError):
        os.kill(run.handle["pid"], signal.SIGTERM)
    return run


def kill_after_the_last_step(spec: Spec, chance: random.Random) -> Run:
    """Killed between its last checkpoint and its result: what such a kill leaves on the disk, since the moment is too short to hit."""
    run = start(spec)
    lines = [events.parse_line(line.encode()) for line in local.follow(run.handle)]
    last = max(i for i, event in enumerate(lines) if isinstance(event, SavedEvent) and event.what == "checkpoint")
    kept = run.events.read_bytes().splitlines(keepends=True)[: last + 1 + chance.randint(0, 1)]
    run.events.write_bytes(b"".join(kept))
    shutil.rmtree(run.adapter)
    return run


SCENES: dict[str, Callable[[Spec, random.Random], Run]] = {
    "engine killed at any moment": kill_engine,
    "engine killed in training": kill_in_training,
    "launcher killed": kill_launcher,
    "torn last line": torn_line,
    "torn checkpoint": torn_checkpoint,
    "stopped and resumed": stop_and_resume,
    "terminated": terminate,
    "killed after the last step": kill_after_the_last_step,
}


def play(scene: str, spec: Spec, expected: list[float], seed: int) -> tuple[Run, list[str]]:
    run = SCENES[scene](spec, random.Random(seed))
    until_done(run)
    return run, faults_in(run, expected)


def full_disk(spec: Spec, expected: list[float], folder: Path) -> list[str]:
    """The disk fills up during a checkpoint: the run fails with advice; with room again it goes on to the same end."""
    home = os.environ["TUNESMITH_HOME"]
    with small_disk(folder, "64m") as disk:
        os.environ["TUNESMITH_HOME"] = str(disk)
        try:
            run = start(spec)
            until(lambda: 2 in steps_of(run), run=run)
            fill(disk / "ballast")
            story = wait(run)
            found = [] if getattr(story[-1], "reason", "") == "disk_full" else [f"ended with {story[-1]}"]
            (disk / "ballast").unlink()
            until_done(run)
            return found + faults_in(run, expected)
        finally:
            os.environ["TUNESMITH_HOME"] = home


def fill(ballast: Path) -> None:
    """Takes every free block, also those freed between two tries."""
    with ballast.open("wb", buffering=0) as file, contextlib.suppress(OSError):
        while file.write(b"\0" * 4096):
            pass


def queue(spec: Spec) -> list[str]:
    """Two launches on one device: the second waits, and starts when the first is killed."""
    first = start(spec)
    until(lambda: 1 in steps_of(first), run=first)
    second = start(spec, machine="local:cpu")
    until(
        lambda: any(e.what == "waiting" for e in events.of_type(events.read_events(second.events), ProgressEvent)),
        run=second,
    )
    waited = not steps_of(second)
    kill(first.handle["pid"])
    story = wait(second)
    found = [] if waited else ["the second did not wait"]
    return found + ([] if isinstance(story[-1], DoneEvent) else [f"the second ended with {story[-1]}"])


def run(folder: Path) -> list[dict[str, Any]]:
    """Every scene many times, half of them on each core with a home of its own; one row a scene."""
    spec = small_spec(folder)
    expected = undisturbed(spec)
    games = [
        (scene, seed) for scene in SCENES for seed in range(KILLS if scene == "engine killed at any moment" else OTHERS)
    ]
    with ProcessPoolExecutor(CORES, mp_context=get_context("spawn")) as pool:
        played = list(pool.map(Game(spec, expected, folder), games))
    table = [
        row(scene, [faults for (name, _), faults in zip(games, played, strict=True) if name == scene])
        for scene in SCENES
    ]
    table.append(row("disk full during a checkpoint", [full_disk(spec, expected, folder / "disk")]))
    return [*table, row("two launches, first killed", [queue(spec)])]


@dataclass(frozen=True)
class Game:
    """One scene played in whichever process is free, in that process's own home: the queue for the device is per home."""

    spec: Spec
    expected: list[float]
    folder: Path

    def __call__(self, game: tuple[str, int]) -> list[str]:
        os.environ["TUNESMITH_HOME"] = str(self.folder / f"home-{os.getpid()}")
        scene, seed = game
        try:
            run, found = play(scene, self.spec, self.expected, seed)
        except AssertionError as error:  # a border: one run that cannot go on must not end the other hundred
            return [f"seed {seed}: {error}"]
        if not found:
            shutil.rmtree(run.path)  # a hundred runs need no keeping
        return [f"seed {seed}: {fault}" for fault in found]


def row(scene: str, played: list[list[str]]) -> dict[str, Any]:
    found = [fault for faults in played for fault in faults]
    return {"what happens": scene, "times": len(played), "found": "; ".join(found) or "nothing lost, nothing doubled"}
