"""Fork server: starts engines for tests by forking one process that has imported all libraries.

For tests of the training, not of how an engine starts. Each engine runs `app.engine.__main__` in its own process and session,
as usual, but starts four seconds earlier because nothing is imported.
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
from app.engine import libraries
from backends import local

# These may change after the fork server has started: an engine reads them only when it needs them, or sets them itself, as
# does a test that trains in its own process.
CHANGEABLE_VARIABLES = ("TUNESMITH_HOME", "PYTEST_CURRENT_TEST", "TORCHINDUCTOR_CACHE_DIR", *libraries.ENVIRONMENT)


class ForkedEngine:
    """A forked engine with the part of the `subprocess.Popen` interface that callers use."""

    def __init__(self, pid: int):
        self.pid, self.identity = pid, process_identity(pid)

    def poll(self) -> int | None:
        return None if is_alive(self.identity) else 0


@contextlib.contextmanager
def fork_engines() -> Iterator[None]:
    """Engines started inside the block are forked, if the environment is the one in which the fork server was started."""
    original_start_detached, server = local.start_detached, fork_server()

    def start_forked(module: str, *arguments: str, output: IO[bytes]) -> Any:
        if module != "app.engine" or fixed_environment() != server.fixed_environment:
            return original_start_detached(module, *arguments, output=output)
        return server.fork_engine([*arguments], output.name)

    local.start_detached = start_forked  # type: ignore[assignment]
    try:
        yield
    finally:
        local.start_detached = original_start_detached


def fixed_environment() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if name not in CHANGEABLE_VARIABLES}


@functools.cache
def fork_server() -> ForkServer:
    return ForkServer()


class ForkServer:
    def __init__(self) -> None:
        self.fixed_environment = fixed_environment()
        with tempfile.TemporaryDirectory() as home:  # an empty home while libraries are imported
            environment = os.environ | {"TUNESMITH_HOME": home, "OMP_NUM_THREADS": "1"}  # threads do not survive a fork
            self.process = subprocess.Popen([sys.executable, "-m", "tests.engine_forkserver"], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                            env=environment)  # fmt: skip
            assert self.read_line() == "ready"
        atexit.register(self.process.kill)

    def fork_engine(self, arguments: list[str], log: str) -> ForkedEngine:
        request = {"arguments": arguments, "log": log, "environment": dict(os.environ)}
        self.process.stdin.write(json.dumps(request).encode() + b"\n")  # type: ignore[union-attr]
        self.process.stdin.flush()  # type: ignore[union-attr]
        return ForkedEngine(int(self.read_line()))

    def read_line(self) -> str:
        return self.process.stdout.readline().decode().strip()  # type: ignore[union-attr]


def main() -> None:
    """Prints “ready”, then the process id of a new engine for each request line; ends when standard input is closed."""
    from app.engine import standby

    standby.import_libraries()
    print("ready", flush=True)
    for line in sys.stdin:
        with contextlib.suppress(ChildProcessError):  # reap ended engines, which would stay zombies
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
        request = json.loads(line)
        if pid := os.fork():
            print(pid, flush=True)
        else:
            run_engine(request)


def run_engine(request: dict[str, Any]) -> None:
    """Runs an engine in this forked process and exits. Session, environment and output are as of an engine that was started directly."""
    code = 1
    try:
        os.setsid()
        os.environ.clear()
        os.environ.update(request["environment"])
        for target_descriptor, path, mode in ((0, os.devnull, os.O_RDONLY), (1, request["log"], os.O_WRONLY | os.O_APPEND), (2, request["log"], os.O_WRONLY | os.O_APPEND)):  # fmt: skip
            descriptor = os.open(path, mode)
            os.dup2(descriptor, target_descriptor)
            os.close(descriptor)
        import torch

        from app.engine.__main__ import main as engine_main

        torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS") or os.cpu_count() or 1))
        code = engine_main(request["arguments"])
        sys.stdout.flush()
        sys.stderr.flush()
    finally:
        os._exit(code)


if __name__ == "__main__":
    main()
