"""The share of a row's tests that the program in the answer passes; it runs shut off from network, files and other programs."""

from __future__ import annotations

import contextlib
import os
import re
import resource
import secrets
import select
import time
from typing import Any

from app.engine.reward_runtime.reward import per_row
from app.engine.reward_runtime.sandbox import end_others, require_confined
from app.setup.knob import Knobs, knob

TITLE = "A program that passes tests"
RUNS_CODE = True
SECONDS = 30.0
FENCED = re.compile(r"```(?:python3?|py)?[ \t]*\n(.*?)```", re.DOTALL | re.IGNORECASE)


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


def make(params: Params) -> per_row:
    def score(completion: str, tests: object) -> float | None:
        wanted = [str(one) for one in tests] if isinstance(tests, list) else [str(tests)] if tests else []
        if not wanted:
            return None  # this row has no tests
        require_confined()
        program = "\n\n".join(FENCED.findall(completion)) or completion
        return passed(program, wanted, params.seconds) / len(wanted)

    return per_row(score, params.column)


def passed(program: str, tests: list[str], seconds: int) -> int:
    """How many tests pass, the program in a child of its own: what it breaks, breaks there. Only where this process is confined."""
    reading, writing = os.pipe()
    word = secrets.token_hex(16)  # a program that ends the child early cannot say it
    if os.fork() == 0:
        os.close(reading)
        resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds))
        count = attempt(program, tests)
        os.write(writing, f"{word} {count}\n".encode())
        os._exit(0)
    os.close(writing)
    told, until = b"", time.monotonic() + min(2 * seconds + 1, SECONDS - 2)  # one that waits does not compute
    while b"\n" not in told and select.select([reading], [], [], max(0.0, until - time.monotonic()))[0]:
        if not (part := os.read(reading, 1024)):
            break
        told += part
    os.close(reading)
    end_others()
    said, _, count = told.decode(errors="replace").strip().partition(" ")
    return int(count) if said == word and count.isdigit() else 0


def attempt(program: str, tests: list[str]) -> int:
    nowhere, names = os.open(os.devnull, os.O_RDWR), {"__name__": "answer"}
    for stream in (0, 1, 2):
        os.dup2(nowhere, stream)
    try:
        exec(compile(program, "answer", "exec"), names)
    except BaseException:  # a border: a model's program, which may also ask to exit
        return 0
    return sum(passes(test, dict(names)) for test in tests)


def passes(test: str, names: dict[str, Any]) -> bool:
    with contextlib.suppress(BaseException):  # a border: as above
        exec(compile(test, "test", "exec"), names)
        return True
    return False
