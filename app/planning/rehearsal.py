"""Rehearsal of a setup: a few real steps before a run. Where the memory does not suffice, the next change is applied and tried.

Each attempt is a process of its own, because the system may end a process that takes too much memory.
"""

from __future__ import annotations

import json
import selectors
import subprocess
import sys
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, NotRequired, TypedDict, final

from app.core import paths
from app.core.json_types import JsonObject
from app.core.problems import SIGNAL_CAUSES, Problem
from app.core.workspace import Workspace
from app.planning import preflight
from app.planning.memory.changes import MemoryChange
from app.setup.set_value import set_values
from app.setup.spec import Launch, Spec

STEPS = 20
_MAX_ATTEMPTS = 10
_POLL_SECONDS = 0.5
_LOG = "rehearsal.log"  # of the latest one, in the workspace
_OUT_OF_MEMORY = "out_of_memory"
_MEMORY_SIGNALS = (-6, -9)  # std::bad_alloc that nobody catches, and the system's out-of-memory killer


# -- what its processes say ---------------------------------------------------------------------------------------


class RehearsalRequest(TypedDict):
    """What a process rehearses. memory_limit: bytes for tensors on the processor."""

    workspace: str
    spec: JsonObject
    machine: str
    steps: int
    memory_limit: int | None


class StepsPlan(TypedDict):
    """memory: the estimated range in bytes. next_change: that saves memory, None where there is no other one."""

    memory: tuple[int, int] | None
    next_change: MemoryChange | None


class RehearsedSteps(TypedDict):
    """What was measured. run_steps, run_seconds: of the whole run at this speed, with its evaluations. peak_bytes: of the
    device's memory; counts_freed: with what the program has freed and keeps, as on a processor. first_loss: before anything is learned. guessing_loss: of a model that guesses, the logarithm of the
    size of its vocabulary; None where the loss is no cross-entropy of tokens."""

    steps: int
    step_seconds: float
    run_steps: int
    run_seconds: float
    peak_bytes: int
    counts_freed: bool
    first_loss: float | None
    guessing_loss: float | None


class StepProgress(TypedDict):
    """How many of the steps are done."""

    done: int
    of: int


class RehearsalMessage(TypedDict):
    """One of these. waiting: runs ahead in the queue of the device."""

    waiting: NotRequired[int]
    plan: NotRequired[StepsPlan]
    progress: NotRequired[StepProgress]
    problem: NotRequired[dict[str, str]]
    done: NotRequired[RehearsedSteps]


# -- what is told of it -------------------------------------------------------------------------------------------


class Attempt(TypedDict):
    """One try that ran out of memory, and what was changed after it. steps: that it had done."""

    steps: int
    change: MemoryChange


@final
class RehearsalResult(RehearsedSteps):
    """memory: the range that was estimated for the setup that fits. attempts: those before it. settings: {path in the
    Spec: new setting} that make it fit; empty where it fits as it is."""

    memory: tuple[int, int] | None
    attempts: list[Attempt]
    settings: JsonObject


@final
class RehearsalProgress(TypedDict):
    """waiting: runs ahead in the queue, 0 once it has begun. attempts: that ran out of memory so far."""

    done: int
    of: int
    waiting: int
    attempts: list[Attempt]


def rehearse(
    workspace: Workspace,
    spec: Spec,
    launch: Launch | None = None,
    memory_limit: int | None = None,
    is_abandoned: Callable[[], bool] = lambda: False,
) -> Iterator[RehearsalProgress | RehearsalResult]:
    """Yields the progress and at last the result. memory_limit: bytes for tensors on the processor. Raises Problem for a
    setup that is refused, and where the memory does not suffice whatever is changed. Nobody waits any more once
    is_abandoned() is true: then it ends without a result."""
    checked_spec = preflight.check_spec(spec)
    machine = (launch or Launch()).machine
    if not machine.startswith("local"):
        raise Problem(
            "A rehearsal runs on this machine alone.",
            advice="Start the run on the other one: a setup that does not fit there ends in its first steps, and says so.",
        )
    attempts: list[Attempt] = []
    settings: JsonObject = {}
    while len(attempts) < _MAX_ATTEMPTS:
        request: RehearsalRequest = {
            "workspace": str(workspace.path),
            "spec": set_values(checked_spec.to_dict(), settings),
            "machine": machine,
            "steps": STEPS,
            "memory_limit": memory_limit,
        }
        outcome = yield from _rehearse_once(request, attempts, is_abandoned)
        if outcome.measured:
            yield {**outcome.measured, "memory": outcome.memory, "attempts": attempts, "settings": settings}
        if outcome.measured or outcome.problem is None:
            return
        if outcome.problem.reason != _OUT_OF_MEMORY:
            raise outcome.problem
        if outcome.next_change is None:
            break
        attempts = [*attempts, {"steps": outcome.steps, "change": outcome.next_change}]
        settings = settings | outcome.next_change["settings"]
    raise Problem(
        "The memory of this device does not suffice, whatever is changed.",
        advice="Choose a smaller model.",
        reason=_OUT_OF_MEMORY,
    )


@dataclass
class _Outcome:
    """Of one process. measured, problem: neither is set where it was abandoned. steps: that it did."""

    steps: int = 0
    memory: tuple[int, int] | None = None
    next_change: MemoryChange | None = None
    measured: RehearsedSteps | None = None
    problem: Problem | None = None


def _rehearse_once(
    request: RehearsalRequest, attempts: list[Attempt], is_abandoned: Callable[[], bool]
) -> Generator[RehearsalProgress, None, _Outcome]:
    outcome = _Outcome()
    yield {"done": 0, "of": STEPS, "waiting": 0, "attempts": attempts}
    for message in _ask_process(request, is_abandoned):
        if "plan" in message:
            outcome.memory, outcome.next_change = message["plan"]["memory"], message["plan"]["next_change"]
        if "progress" in message:
            outcome.steps = message["progress"]["done"]
        if "problem" in message:
            outcome.problem = Problem(**message["problem"])
        outcome.measured = message.get("done")
        yield {"done": outcome.steps, "of": STEPS, "waiting": message.get("waiting", 0), "attempts": attempts}
    return outcome


# -- its processes ------------------------------------------------------------------------------------------------


def _ask_process(request: RehearsalRequest, is_abandoned: Callable[[], bool]) -> Iterator[RehearsalMessage]:
    """The messages of a process, the last one `done` or `problem` unless it was abandoned. It ends with this iterator."""
    with Path(request["workspace"], _LOG).open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "app.engine.rehearsal"],
            cwd=paths.ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
            bufsize=0,  # what is buffered here would not wake the selector
        )
    assert process.stdin
    assert process.stdout
    try:
        process.stdin.write(json.dumps(request).encode())
        process.stdin.close()
        for line in _read_lines(process.stdout, is_abandoned):
            message: RehearsalMessage = json.loads(line)
            yield message
            if "done" in message or "problem" in message:
                return
        if not is_abandoned():
            yield {"problem": _problem_of_exit(process.wait())}
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


def _read_lines(stream: IO[bytes], is_abandoned: Callable[[], bool]) -> Iterator[bytes]:
    """Lines until the end of the stream, or until nobody waits for them any more."""
    with selectors.DefaultSelector() as selector:
        selector.register(stream, selectors.EVENT_READ)
        while not is_abandoned():
            if selector.select(_POLL_SECONDS):
                line = stream.readline()
                if not line:
                    return
                yield line


def _problem_of_exit(exit_status: int) -> dict[str, str]:
    if exit_status in _MEMORY_SIGNALS:
        return {"text": "The device ran out of memory.", "advice": "", "reason": _OUT_OF_MEMORY}
    reason, text, advice = SIGNAL_CAUSES.get(-exit_status, ("crashed", "The rehearsal ended without a word.", ""))
    return {"text": text, "advice": advice, "reason": reason}
