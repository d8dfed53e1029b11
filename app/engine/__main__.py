"""The engine: `python -m app.engine RUN_DIR` trains one run, in a process of its own, and tells its story as events."""

from __future__ import annotations

import argparse
import contextlib
import fcntl
import os
import shutil
import sys
import time
import traceback
from pathlib import Path
from typing import Any

from app.core.problems import Problem, explain
from app.core.processes import identity, is_alive
from app.engine.control import Control, Stopped
from app.engine.device_queue import turn
from app.engine.emitter import Emitter
from app.engine.libraries import prepare_libraries
from app.engine.model.device import Device, choose, hide_others
from app.planning.resolve import resolve
from app.runs import events, store

DONE, FAILED, REFUSED, STOPPED = 0, 1, 2, 130
GRACE = 2.0  # seconds for the lock of a dead engine


def alone(run: store.Run, lock: Any) -> bool:
    """Whether this engine is the only one in its folder. What one that was just killed had started may hold its lock a moment longer."""
    deadline = time.monotonic() + GRACE
    while True:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return True
        except BlockingIOError:
            if is_alive(run.handle) or time.monotonic() > deadline:
                return False
            time.sleep(0.05)


def main(arguments: list[str] | None = None) -> int:
    """0 done, 1 failed, 2 refused, 130 stopped."""
    parser = argparse.ArgumentParser(prog="python -m app.engine", description=__doc__)
    parser.add_argument("run", type=Path, help="the run's folder, with spec.json and launch.json")
    parser.add_argument(
        "--control-from", type=int, default=0, help="bytes of control.jsonl that belong to earlier starts"
    )
    options = parser.parse_args(arguments)
    run = store.Run(options.run.resolve())
    if not (run.path / "spec.json").exists():
        print(f"There is no run in {run.path}.", file=sys.stderr)
        return REFUSED
    with (run.path / ".engine.lock").open("w") as lock:
        if not alone(run, lock):  # two engines in one folder would tell the story twice
            print(f"The run {run.id} is already running.", file=sys.stderr)
            return REFUSED
        return attend(run, options.control_from)


def attend(run: store.Run, control_from: int) -> int:
    """One attempt from its first event to its last, whatever happens in between."""
    store.write_json(run.path / "handle.json", {"backend": "local", "folder": str(run.path)} | identity(os.getpid()))
    emitter = Emitter(run.path)
    control = Control(run.control, emitter, control_from)
    try:
        control.listen()
        emitter.say("state", state="preparing")
        wait_and_train(run, emitter, control)
    except Stopped:
        emitter.say("done", why="stopped", verdict="Stopped before anything was learned.")
    except Exception as error:  # the outermost border of this process
        return fail(emitter, error)
    last = events.last(run.events)
    return STOPPED if last and last.get("why") == "stopped" else DONE


def fail(emitter: Emitter, error: Exception) -> int:
    problem = explain(error)
    emitter.say("failed", reason=problem.reason, text=problem.text, advice=problem.advice)
    if not isinstance(error, Problem):
        with contextlib.suppress(OSError):  # the log may lie on a full disk
            traceback.print_exception(error)
    return FAILED


def wait_and_train(run: store.Run, emitter: Emitter, control: Control) -> None:
    device = choose(run.launch.machine)

    def waiting(ahead: int) -> None:
        emitter.say("progress", what="waiting", done=0, of=ahead)

    with turn(device, run.id, waiting, control.check):
        hide_others(device)
        control.check()
        train(run, emitter, control, Device(device))


def train(run: store.Run, emitter: Emitter, control: Control, device: Device) -> None:
    """Loads, builds, trains, saves. Heavy imports begin here."""
    emitter.say("state", state="loading")
    prepare_libraries()
    from app.engine.callback import Story
    from app.engine.job import Job
    from app.engine.reward_runtime import reward_probe
    from app.engine.run_manifest import facts
    from app.runs import checkpoints

    job = Job(resolve(run.spec), run.path, device, emitter, budget=run.launch.budget)
    start = checkpoints.newest(run.checkpoints)
    story = Story(job, emitter, control, checkpoints.facts_of(start) if start else None)
    job.callbacks.append(story)
    reward_probe.check(job)
    control.check()
    story.trainer = trainer = job.method.build(job)
    tell_dropped(job, emitter)
    tell_filtered(job, trainer, emitter)
    lighten(trainer)
    control.check()
    store.write_json(run.path / "facts.json", facts(job, trainer))
    if emitter.attempt > 1:
        emitter.say("resumed", from_step=checkpoints.step_of(start) if start else 0)
    watch_batches(trainer, run.path)
    control.training = True
    trainer.train(resume_from_checkpoint=str(start) if start else None)
    finish(run, emitter, story, trainer)


def finish(run: store.Run, emitter: Emitter, story: Any, trainer: Any) -> None:
    """The result appears whole or not at all; an older one of an earlier attempt is replaced."""
    from app.runs import checkpoints

    emitter.say("state", state="saving")
    draft = run.path / ".adapter"
    shutil.rmtree(draft, ignore_errors=True)
    save(trainer, draft)
    shutil.rmtree(run.adapter, ignore_errors=True)
    draft.rename(run.adapter)
    emitter.say("saved", step=trainer.state.global_step, what="adapter", path="adapter")
    checkpoints.tidy(run.checkpoints)
    emitter.say("done", why=story.why, adapter="adapter", verdict=story.verdict())


def save(trainer: Any, folder: Path) -> None:
    """What a person can use and publish: no paths of this machine, no card yet, and no copy of what a method compared with."""
    trainer.save_model(str(folder))
    for extra in ("training_args.bin", "README.md"):  # the card is made when publishing
        (folder / extra).unlink(missing_ok=True)
    shutil.rmtree(folder / "ref", ignore_errors=True)  # TRL's frozen copy of an adapter that a run went on from


def tell_dropped(job: Any, emitter: Emitter) -> None:
    from app.engine.preview.findings import left_out

    len(job.data.holdout)  # reading the data counts what it leaves out
    for reason, count in job.data.dropped.items():
        emitter.say("note", level="careful", text=left_out(count, reason))


def tell_filtered(job: Any, trainer: Any, emitter: Emitter) -> None:
    from app.engine.preview.findings import filtered, left_out

    for reason, count in filtered(job, trainer).items():
        emitter.say("note", level="careful", text=left_out(count, reason))


def lighten(trainer: Any) -> None:
    """Leaves out what the story does not need: printing every log line, and counting all parameters anew at each step."""
    from transformers import PrinterCallback

    trainer.remove_callback(PrinterCallback)
    trainer.floating_point_ops = lambda inputs: 0


def watch_batches(trainer: Any, folder: Path) -> None:
    """With TUNESMITH_DUMP_BATCHES=N the first N batches that the loss receives are kept in batches.pt, to compare with a preview."""
    count = int(os.environ.get("TUNESMITH_DUMP_BATCHES", "0"))
    if not count:
        return
    import torch

    seen: list[dict[str, Any]] = []
    inner = trainer.compute_loss

    def compute_loss(model: Any, inputs: dict[str, Any], *args: Any, **kwargs: Any) -> Any:
        if model.training and len(seen) < count:
            seen.append({name: value.clone() if torch.is_tensor(value) else value for name, value in inputs.items()})
            torch.save(seen, folder / "batches.pt")
        return inner(model, inputs, *args, **kwargs)

    trainer.compute_loss = compute_loss


if __name__ == "__main__":
    sys.exit(main())
