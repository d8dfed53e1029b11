"""Nursery: engines for tests that ask what is trained and not how an engine starts: forked from one process that has imported everything.

Each is an engine as any other, `app.engine.__main__` in a process and a session of its own, four seconds of imports earlier.
"""

from __future__ import annotations

import atexit
import contextlib
import functools
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from typing import IO, Any

from app.core.paths import ROOT
from app.core.processes import is_alive, process_identity
from backends import local

OWN = ("TUNESMITH_HOME", "PYTEST_CURRENT_TEST")  # may differ: read only when they are needed


class Born:
    """An engine that the nursery made: what `subprocess.Popen` tells of its own."""

    def __init__(self, pid: int):
        self.pid, self.identity = pid, process_identity(pid)

    def poll(self) -> int | None:
        return None if is_alive(self.identity) else 0


@contextlib.contextmanager
def engines() -> Iterator[None]:
    """Engines started inside come from the nursery, where the environment is the one that it was opened in."""
    afresh, there = local.start_detached, nursery()

    def born(module: str, *arguments: str, output: IO[bytes]) -> Any:
        if module != "app.engine" or others() != there.others:
            return afresh(module, *arguments, output=output)
        return there.make([*arguments], output.name)

    local.start_detached = born  # type: ignore[assignment]
    try:
        yield
    finally:
        local.start_detached = afresh


def others() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if name not in OWN}


@functools.cache
def nursery() -> Nursery:
    return Nursery()


class Nursery:
    def __init__(self) -> None:
        self.others = others()
        with tempfile.TemporaryDirectory() as home:  # where it may look for what nobody brought
            environment = os.environ | {"TUNESMITH_HOME": home, "OMP_NUM_THREADS": "1"}  # threads do not survive a fork
            self.process = subprocess.Popen([sys.executable, "-m", "tests.engine_forkserver"], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                            env=environment)  # fmt: skip
            assert self.answer() == "ready"
        atexit.register(self.process.kill)

    def make(self, arguments: list[str], log: str) -> Born:
        asked = {"arguments": arguments, "log": log, "environment": dict(os.environ)}
        self.process.stdin.write(json.dumps(asked).encode() + b"\n")  # type: ignore[union-attr]
        self.process.stdin.flush()  # type: ignore[union-attr]
        return Born(int(self.answer()))

    def answer(self) -> str:
        return self.process.stdout.readline().decode().strip()  # type: ignore[union-attr]


def main() -> None:
    """Says “ready”, then for each order the process id of an engine; ends with whoever opened it."""
    from app.engine import standby

    standby.import_libraries()
    print("ready", flush=True)
    for line in sys.stdin:
        with contextlib.suppress(ChildProcessError):  # ended engines are no zombies
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
        order = json.loads(line)
        if pid := os.fork():
            print(pid, flush=True)
        else:
            become_engine(order)


def become_engine(order: dict[str, Any]) -> None:
    """Never returns. The session, the environment and the output are those of an engine that was started by itself."""
    code = 1
    try:
        os.setsid()
        os.environ.clear()
        os.environ.update(order["environment"])
        for number, name, mode in ((0, os.devnull, os.O_RDONLY), (1, order["log"], os.O_WRONLY | os.O_APPEND), (2, order["log"], os.O_WRONLY | os.O_APPEND)):  # fmt: skip
            opened = os.open(name, mode)
            os.dup2(opened, number)
            os.close(opened)
        import torch

        from app.engine.__main__ import main as engine

        torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS") or os.cpu_count() or 1))
        code = engine(order["arguments"])
        sys.stdout.flush()
        sys.stderr.flush()
    finally:
        os._exit(code)


if __name__ == "__main__":
    main()
