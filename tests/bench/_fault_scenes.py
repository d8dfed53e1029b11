"""Faults of the second kind: damaged checkpoints and small files, a step of the clock, and helpers of a killed engine."""

from __future__ import annotations

import contextlib
import itertools
import os
import random
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from unittest import mock

import psutil

from app.core.problems import Problem
from app.core.workspace import local_workspace
from app.history import run_list
from app.runs import checkpoints, cleanup, events, result, store
from app.runs.events import EvalEvent
from app.runs.result import RESULT_FILE
from app.runs.store import Run
from app.setup.spec import Spec
from tests.support import metrics_by_step, start_run, wait_until

ENDLESS_REWARD = "def score(answer, row):\n    while True:\n        pass\n"
_ORPHAN_SECONDS = 10.0  # until everything that a killed engine had started has ended
_CLOCK_SCRIPT = """import os, time
_real_time = time.time
time.time = lambda: _real_time() + ({shift} if os.path.exists({flag!r}) else 0)
"""
_DAMAGES: dict[str, Callable[[bytes], bytes]] = {
    "empty": lambda _: b"",
    "half": lambda content: content[: len(content) // 2],
    "of another type": lambda _: b"[1, 2]",
    "deeply nested": lambda _: b'{"a":' * 20_000,
    "zeros": lambda content: b"\0" * len(content),
}


# -- the result -----------------------------------------------------------------------------------------------------


def find_result_faults(run: Run) -> list[str]:
    """What is wrong with the result of a finished run: it must be the best checkpoint that is in order, byte for byte."""
    record = result.read_result(run)
    if record is None or record["metric"] is None:
        return ["the run does not say which checkpoint its result is"]
    evaluations = events.of_type(events.drop_rewound(events.read_events(run.events)), EvalEvent)
    values = {event.step: event.metrics[f"eval/{record['metric']}"] for event in evaluations if event.step}
    best = max(values.values()) if record["metric"] != "loss" else min(values.values())
    if record["best"] != best or values[record["step"]] != best:
        return [f"the result is from step {record['step']}, and the evaluations are {values}"]
    checkpoint = run.checkpoints / f"checkpoint-{record['step']}"
    if checkpoints.fault_of(checkpoint):
        return [f"the best checkpoint is damaged: {checkpoints.fault_of(checkpoint)}"]
    name = "adapter_model.safetensors"
    is_equal = (run.adapter / name).read_bytes() == (checkpoint / name).read_bytes()
    return [] if is_equal else [f"the result is not the checkpoint of step {record['step']}"]


def _problem_of(action: Callable[[], object]) -> str:
    """The sentence of the Problem that an action raises; empty where it raises none."""
    try:
        action()
    except Problem as problem:
        return str(problem)
    return ""


# -- damaged files --------------------------------------------------------------------------------------------------


def damage_newest_checkpoint(run: Run, rng: random.Random) -> int:
    """Cuts, empties, overwrites or removes one file of the newest complete checkpoint. Returns its step."""
    newest = checkpoints.complete_checkpoints(run.checkpoints)[-1]
    path = rng.choice([path for path in sorted(newest.rglob("*")) if path.is_file() and path.stat().st_size > 1])
    kind = rng.choice(["empty", "half", "zeros", "missing"])
    if kind == "missing":
        path.unlink()
    else:
        path.write_bytes(_DAMAGES[kind](path.read_bytes()))
    return checkpoints.checkpoint_step(newest)


def damage_small_files(run: Run, rng: random.Random) -> None:
    """Damages every small file of a dead run and adds an event line without its fields. All readers must go on, each with
    a sentence; then what the sentences advise is done."""
    original_spec = (run.path / "spec.json").read_bytes()
    for name in ("handle.json", "launch.json", "facts.json", "spec.json", RESULT_FILE):
        path = run.path / name
        content = path.read_bytes() if path.exists() else b"{}"
        path.write_bytes(_DAMAGES[rng.choice(["empty", "half", "of another type", "deeply nested"])](content))
    with run.events.open("ab") as file:
        file.write(b'{"seq": 1000000, "attempt": 1, "time": 0.0, "kind": "step"}\n')
    summary = run_list.summarize_run(run, store.is_alive(run))
    assert (summary["state"], summary["alive"]) == ("damaged", False), summary
    assert str(summary["result"]).startswith("spec.json "), summary
    (run.path / "spec.json").write_bytes(original_spec)
    assert run_list.summarize_run(run, store.is_alive(run))["state"] == "lost"
    for name, reader in {"launch.json": lambda: run.launch, RESULT_FILE: lambda: result.read_result(run)}.items():
        sentence = _problem_of(reader)
        assert name in sentence, (
            f"a damaged {name} was taken for a good one, or the sentence does not name it: {sentence}"
        )
        assert "Delete this file" in sentence, sentence
        (run.path / name).unlink()


# -- the clock ------------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def stepped_clock(folder: Path, shift: float) -> Iterator[Path]:
    """Processes that are started in the block find that the time is `shift` seconds later once the yielded file exists,
    as when somebody sets the clock."""
    flag = folder / "is-set"
    (folder / "sitecustomize.py").write_text(_CLOCK_SCRIPT.format(shift=shift, flag=str(flag)), encoding="utf-8")
    with mock.patch.dict(os.environ, {"PYTHONPATH": str(folder)}):
        yield flag


def step_clock(spec: Spec, rng: random.Random) -> Run:
    """The clock is set by two hours while the run trains, for the engine and for those who look at it: it is never taken
    for dead, so it cannot be deleted."""
    shift, boot_time = rng.choice([-7200, 7200]), psutil.boot_time()
    step = rng.randint(1, 12)
    with stepped_clock(Path(tempfile.mkdtemp(dir=local_workspace().folder("cache"))), shift) as flag:
        run = start_run(spec, cold_start=True)
    wait_until(lambda: step in metrics_by_step(run), run=run)
    flag.touch()
    with mock.patch("psutil._pslinux.boot_time", return_value=boot_time + shift):
        assert store.is_alive(run), "a living run was taken for dead"
        assert "is running" in _problem_of(lambda: cleanup.delete_run(run)), "a run was deleted while it trained"
    wait_until(lambda: not store.is_alive(run), run=run)
    times = [event.time for event in events.read_events(run.events)]
    largest_step = max(abs(later - earlier) for earlier, later in itertools.pairwise(times))
    assert largest_step > 7000, "the clock was not set while the engine wrote events"
    return run


# -- helpers --------------------------------------------------------------------------------------------------------


def kill_engine_with_helpers(spec: Spec) -> list[str]:
    """The engine is killed while its reward runs code that never ends: nothing that it started outlives it by long."""
    run = start_run(spec, cold_start=True)
    engine = psutil.Process(run.handle["pid"])
    helpers = wait_until(lambda: _busy_descendants(engine), run=run)
    engine.kill()
    _, living = psutil.wait_procs(helpers, timeout=_ORPHAN_SECONDS)
    for process in living:
        process.kill()
    faults = [f"{len(living)} of {len(helpers)} helpers outlive the engine"] if living else []
    return faults + (["the run counts as running"] if store.is_alive(run) else [])


def _busy_descendants(engine: psutil.Process) -> list[psutil.Process]:
    """All that an engine has started, once one of them computes without end; empty before."""
    descendants = engine.children(recursive=True)
    with contextlib.suppress(psutil.NoSuchProcess):  # one may end meanwhile
        if any(sum(process.cpu_times()[:2]) > 3 for process in descendants):
            return descendants
    return []
