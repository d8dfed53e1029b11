"""The share of a row's tests that the program in the answer passes; it runs shut off from network, files and other programs."""

from __future__ import annotations

import contextlib
import os
import re
import secrets
import select
import time

from app.core.platform import limit_cpu_time
from app.data.fields import Cell
from app.engine.contracts import RewardDefinition
from app.engine.reward_runtime.reward import PerRowReward
from app.engine.reward_runtime.sandbox import kill_other_processes, require_sandbox
from app.setup.knob import Knobs, knob

_SECONDS = 30.0
_FENCED_CODE = re.compile(r"```(?:python3?|py)?[ \t]*\n(.*?)```", re.DOTALL | re.IGNORECASE)


class Params(Knobs):
    column: str = knob(
        "tests",
        "The column with the tests: Python statements such as `assert add(1, 2) == 3`, one or a list.",
        picks="column",
    )
    seconds: int = knob(
        5,
        "How long one answer's program may compute; one that waits is ended after about twice that.",
        low=1,
        high=25,
        unit="seconds",
    )


def make(params: Params) -> PerRowReward:
    def score(completion: str, tests: Cell) -> float | None:
        tests_to_run = [str(test) for test in tests] if isinstance(tests, list) else [str(tests)] if tests else []
        if not tests_to_run:
            return None  # this row has no tests
        require_sandbox()
        program = "\n\n".join(_FENCED_CODE.findall(completion)) or completion
        return _count_passing_tests(program, tests_to_run, params.seconds) / len(tests_to_run)

    return PerRowReward(score, params.column)


def _count_passing_tests(program: str, tests: list[str], seconds: int) -> int:
    """How many tests pass.

    The program runs in a child process, so what it breaks, breaks there. Only inside the sandbox.
    """
    read_end, write_end = os.pipe()
    secret = secrets.token_hex(16)  # a program that ends the child early cannot write it
    if os.fork() == 0:
        os.close(read_end)
        limit_cpu_time(seconds)
        count = _run_tests(program, tests)
        os.write(write_end, f"{secret} {count}\n".encode())
        os._exit(0)
    os.close(write_end)
    output, deadline = (
        b"",
        time.monotonic() + min(2 * seconds + 1, _SECONDS - 2),
    )  # waiting uses no CPU time, so the limit of it does not end this
    while b"\n" not in output and select.select([read_end], [], [], max(0.0, deadline - time.monotonic()))[0]:
        if not (chunk := os.read(read_end, 1024)):
            break
        output += chunk
    os.close(read_end)
    kill_other_processes()
    reported_secret, _, passed = output.decode(errors="replace").strip().partition(" ")
    return int(passed) if reported_secret == secret and passed.isdigit() else 0


def _run_tests(program: str, tests: list[str]) -> int:
    null_device, namespace = os.open(os.devnull, os.O_RDWR), {"__name__": "answer"}
    for stream in (0, 1, 2):
        os.dup2(null_device, stream)
    try:
        exec(compile(program, "answer", "exec"), namespace)
    except BaseException:  # a model's program, which may also exit
        return 0
    return sum(_passes(test, dict(namespace)) for test in tests)


def _passes(test: str, namespace: dict[str, str]) -> bool:
    with contextlib.suppress(BaseException):  # as above
        exec(compile(test, "test", "exec"), namespace)
        return True
    return False


REWARD = RewardDefinition(
    title="A program that passes tests",
    sentence=__doc__,
    params=Params,
    make=make,
    runs_code=True,
    seconds=_SECONDS,
)
