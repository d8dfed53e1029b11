"""The engine: `python -m app.engine RUN_DIR` trains one run, in a process of its own, and tells its story as events."""

from __future__ import annotations

import argparse
import contextlib
import os
import shutil
import sys
import traceback
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from app.core import platform
from app.core.problems import Problem, to_problem
from app.core.processes import is_alive, process_identity
from app.engine.control import Control, Stopped
from app.engine.device_queue import queue_for_device
from app.engine.emitter import Emitter
from app.engine.libraries import prepare_libraries, remove_overhead
from app.engine.model.device import Device, choose_device, hide_other_devices
from app.engine.rank import is_main_process
from app.engine.result import choose_result
from app.planning.launcher import LAID_OUT_ANEW
from app.planning.resolve import resolve
from app.runs import checkpoints, result, store
from app.runs.events import (
    DoneEvent,
    FailedEvent,
    NoteEvent,
    ProgressEvent,
    ResumedEvent,
    SavedEvent,
    StateEvent,
    last_event,
)
from app.runs.records import write_record
from app.setup.portable_files import make_portable

if TYPE_CHECKING:
    from app.engine.callback import EventCallback
    from app.engine.job import Job
    from app.engine.run_manifest import RunManifest
    from app.setup.spec import Spec

_EXIT_DONE, _EXIT_FAILED, _EXIT_REFUSED, _EXIT_STOPPED = 0, 1, 2, 130
_LOCK_GRACE_SECONDS = 2.0  # that the lock of a dead engine may still be held
_TRAINER_EXTRAS = ("training_args.bin", "README.md")  # holds paths of this machine; the card is made when publishing


# -- the process --------------------------------------------------------------------------------------------------


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
        return _EXIT_REFUSED
    with run.engine_lock.open("w") as lock:
        # Two engines in one folder would write every event twice.
        if is_main_process() and not acquire_run_lock(run, lock):
            print(f"The run {run.id} is already running.", file=sys.stderr)
            return _EXIT_REFUSED
        return _run_attempt(run, options.control_from)


def acquire_run_lock(run: store.Run, lock: IO[str]) -> bool:
    """Whether this engine is the only one in the run's folder. A child of an engine that was just killed may hold its
    lock a moment longer."""
    return platform.lock_file_within(lock, _LOCK_GRACE_SECONDS, lambda: is_alive(run.handle))


def _run_attempt(run: store.Run, control_from: int) -> int:
    """One attempt from its first event to its last, whatever happens in between. Returns the exit status."""
    if is_main_process():
        store.write_handle(run, process_identity(os.getpid()))
    emitter = Emitter(run.path)
    control = Control(run.control, emitter, control_from)
    try:
        control.listen()
        emitter.emit(StateEvent, state="preparing")
        _wait_and_train(run, emitter, control)
    except Stopped:
        emitter.emit(DoneEvent, why="stopped", verdict="Stopped before anything was learned.")
    except Exception as error:  # the outermost error boundary of this process
        return _report_failure(emitter, error)
    ending = last_event(run.events)
    return _EXIT_STOPPED if isinstance(ending, DoneEvent) and ending.why == "stopped" else _EXIT_DONE


def _report_failure(emitter: Emitter, error: Exception) -> int:
    problem = to_problem(error)
    emitter.emit(FailedEvent, reason=problem.reason, text=problem.text, advice=problem.advice)
    if not isinstance(error, Problem):
        with contextlib.suppress(OSError):  # the log may lie on a full disk
            traceback.print_exception(error)
    return _EXIT_FAILED


# -- training -----------------------------------------------------------------------------------------------------


def _wait_and_train(run: store.Run, emitter: Emitter, control: Control) -> None:
    device = choose_device(run.launch.machine)

    def emit_waiting(ahead: int) -> None:
        emitter.emit(ProgressEvent, what="waiting", done=0, of=ahead)

    # The main process waits for the device on behalf of those that train with it.
    queue = queue_for_device(run.workspace, device, run.id, emit_waiting, control.raise_if_stopped)
    with queue if is_main_process() else contextlib.nullcontext():
        hide_other_devices(device)
        control.raise_if_stopped()
        _train(run, emitter, control, Device(device))


def _train(run: store.Run, emitter: Emitter, control: Control, device: Device) -> None:
    """Loads, builds, trains, saves. Heavy imports begin here."""
    emitter.emit(StateEvent, state="loading")
    prepare_libraries()
    from app.engine.callback import EventCallback
    from app.engine.profiler import ProfilerCallback
    from app.engine.reward_runtime import reward_probe
    from app.engine.run_manifest import build_run_manifest

    launch = run.launch
    job = _build_job(run, emitter, device)
    checkpoint = _choose_checkpoint(run, emitter)
    callback = EventCallback(
        job, emitter, control, checkpoints.checkpoint_metadata(checkpoint) if checkpoint else None, launch.extension
    )
    job.callbacks.append(callback)
    if job.knobs.profile_steps and is_main_process():
        job.callbacks.append(ProfilerCallback(run, job.knobs.profile_steps, emitter))
    reward_probe.require_working_rewards(job)
    control.raise_if_stopped()
    callback.trainer = trainer = job.method.build(job)
    _emit_left_out_rows(job, trainer, emitter)
    end_notes = _let_answers_end(job, trainer, emitter)
    remove_overhead(trainer)
    control.raise_if_stopped()
    if is_main_process():
        earlier = _earlier_manifest(run)
        manifest = build_run_manifest(job, trainer, earlier, launch.extension, end_notes)
        _write_manifest(run, manifest, earlier, emitter)
    if emitter.attempt > 1:
        emitter.emit(ResumedEvent, from_step=checkpoints.checkpoint_step(checkpoint) if checkpoint else 0)
    if launch.extension:
        text = f"This run was planned with {launch.extension.planned:,} steps and goes on to {launch.extension.steps:,}. {LAID_OUT_ANEW}"
        emitter.emit(NoteEvent, level="info", text=text)
    _dump_batches(trainer, run.path)
    control.is_training = True
    trainer.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)
    _save_result(run, emitter, callback, trainer)


def _build_job(run: store.Run, emitter: Emitter, device: Device) -> Job:
    """The run's job. What the precision `auto` means here is stored with the run."""
    from app.engine.job import Job
    from app.engine.model.processor_precision import pin_precision

    job = Job(_extended_spec(run), run.path, device, emitter, budget=run.launch.budget)
    if is_main_process() and job.knobs.precision != job.spec.knobs["precision"]:
        pin_precision(run, job.knobs.precision)
    return job


def _extended_spec(run: store.Run) -> Spec:
    """The resolved Spec, with the steps of a run that was extended: the stored one keeps the length that was planned."""
    spec, extension = resolve(run.spec), run.launch.extension
    return spec.model_copy(update={"knobs": spec.knobs | {"steps": extension.steps}}) if extension else spec


def _let_answers_end(job: Job, trainer: Any, emitter: Emitter) -> list[str]:
    """Lets the model stop at the token that ends its answers in training. Returns what is to be known where its own
    settings do not, and emits it as notes."""
    from app.engine.generation.end_tokens import add_end_tokens
    from app.engine.tokens.eos_tokens import end_token_findings, undeclared_end_tokens

    findings = end_token_findings(job, trainer.model)
    for severity, text in findings:
        emitter.emit(NoteEvent, level="careful" if severity == "careful" else "info", text=text)
    add_end_tokens(trainer.model, undeclared_end_tokens(job, trainer.model))
    return [text for severity, text in findings if severity == "careful"]


def _earlier_manifest(run: store.Run) -> dict[str, Any]:
    """That of the attempt before; empty where there is none, or where it is damaged: then nothing can be compared."""
    try:
        return run.facts
    except Problem:
        return {}


def _write_manifest(run: store.Run, manifest: RunManifest, earlier: dict[str, Any], emitter: Emitter) -> None:
    """Stores the manifest; a note names files of examples that were others in the attempt before."""
    hashes_before = earlier.get("data", {}).get("earlier_files", {})
    changed_names = [
        name for name, hashes in manifest["data"]["earlier_files"].items() if hashes != hashes_before.get(name)
    ]
    if changed_names:
        text = f"From here on, this run learns from changed examples: {', '.join(changed_names)}."
        emitter.emit(NoteEvent, level="careful", text=text)
    write_record(run.path / "facts.json", manifest)


def _choose_checkpoint(run: store.Run, emitter: Emitter) -> Path | None:
    """The checkpoint to resume from, or None; a note says which newer ones are damaged."""
    checkpoint, faults = checkpoints.latest_for_resume(run.checkpoints)
    resume_step = checkpoints.checkpoint_step(checkpoint) if checkpoint else 0
    origin = f"from the checkpoint of step {resume_step}" if checkpoint else "from the beginning"
    for step, fault in faults.items():
        text = f"The checkpoint of step {step} is damaged ({fault}), so this run goes on {origin}."
        emitter.emit(NoteEvent, level="careful", text=text)
    return checkpoint


def _emit_left_out_rows(job: Job, trainer: Any, emitter: Emitter) -> None:
    """A note for each reason why rows are not trained on."""
    from app.engine.preview.findings import left_out_text, rows_left_out_by_trainer

    len(job.data.holdout)  # reading the data counts what it leaves out
    for counts in (job.data.dropped, rows_left_out_by_trainer(job, trainer)):
        for reason, count in counts.items():
            emitter.emit(NoteEvent, level="careful", text=left_out_text(count, reason))


def _dump_batches(trainer: Any, folder: Path) -> None:
    """With TUNESMITH_DUMP_BATCHES=N saves the first N batches that the loss receives in batches.pt, to compare with a
    preview."""
    count = int(os.environ.get("TUNESMITH_DUMP_BATCHES", "0"))
    if not count:
        return
    import torch

    batches: list[dict[str, Any]] = []
    original_compute_loss = trainer.compute_loss

    def compute_loss(model: Any, inputs: dict[str, Any], *args: Any, **kwargs: Any) -> Any:
        if model.training and len(batches) < count:
            batches.append(
                {name: column.clone() if torch.is_tensor(column) else column for name, column in inputs.items()}
            )
            torch.save(batches, folder / "batches.pt")
        return original_compute_loss(model, inputs, *args, **kwargs)

    trainer.compute_loss = compute_loss


# -- result -------------------------------------------------------------------------------------------------------


def _save_result(run: store.Run, emitter: Emitter, callback: EventCallback, trainer: Any) -> None:
    """The result appears complete or not at all, and replaces that of an earlier attempt."""
    emitter.emit(StateEvent, state="saving")
    draft = result.draft_folder(run)
    save_model(trainer, draft)  # by every process: where each holds a part, the parts are collected
    if not is_main_process():
        return
    record = choose_result(run, callback, trainer.state, draft)
    result.install_result(run, draft, record)
    emitter.emit(SavedEvent, step=record["step"], what="adapter", path="adapter")
    checkpoints.delete_surplus(run.checkpoints)
    emitter.emit(DoneEvent, why=callback.why, adapter="adapter", verdict=callback.verdict())


def save_model(trainer: Any, folder: Path) -> None:
    """Saves what a person can use and publish: no paths of this machine, no model card yet, no reference model."""
    trainer.save_model(str(folder))
    if is_main_process():
        make_portable(folder)
    for name in _TRAINER_EXTRAS:
        (folder / name).unlink(missing_ok=True)
    shutil.rmtree(folder / "ref", ignore_errors=True)  # TRL's frozen copy of an adapter that a run continued from


if __name__ == "__main__":
    sys.exit(main())
