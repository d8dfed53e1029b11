"""Program server: starts a fresh process for the program of each answer, and another one that tests it.

Run as `python -m app.engine.reward_runtime.program_server FOLDER`, with a socket as stdin. The server reads no program, test
or score, so its children hold none of an answer of before. A program's process knows its source and what it is called
with; its only descriptor leads to its tests, its folder is empty, and its namespaces have no other process in them. The
tests' process reports how many of them pass to the reward process, over a connection that the program never had.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

from app.core import paths
from app.core.platform import limit_cpu_time
from app.engine.reward_runtime import sandbox
from app.engine.reward_runtime.judged_program import count_passing_tests
from app.engine.reward_runtime.program_objects import serve_program

_MAX_ORDER = 4096  # bytes

_servers: list[socket.socket] = []  # the connection to the server of this process, once it is started


# -- in the reward process ----------------------------------------------------------------------------------------------


def start_server(scratch: Path) -> None:
    """Starts the server. Before this process enters the sandbox: the server enters one of its own, with this folder."""
    client_end, server_end = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with server_end:
        subprocess.Popen([sys.executable, "-m", __spec__.name, str(scratch)], stdin=server_end.fileno(), cwd=paths.ROOT)
    _servers.append(client_end)


def judge_program(program: str, tests: list[str], seconds: int, timeout: float) -> int:
    """How many tests pass; 0 when they do not end in time.

    seconds: of CPU time, for the program and for its tests. timeout: in seconds, for both.
    """
    [server] = _servers
    result_end, tests_end = socket.socketpair()
    with result_end:
        with tests_end:
            socket.send_fds(server, [str(seconds).encode()], [tests_end.fileno()])
        result_end.settimeout(timeout)
        count = b""
        with contextlib.suppress(OSError):  # it takes too long, or has ended
            result_end.sendall(json.dumps([program, tests]).encode() + b"\n")
            count = result_end.recv(16)
        server.send(b"end")
        if not server.recv(_MAX_ORDER):  # both processes have ended
            raise EOFError("the server of programs has ended")
    return min(int(count), len(tests)) if count.isdigit() else 0


# -- in the server ------------------------------------------------------------------------------------------------------


def main() -> None:
    orders = socket.socket(fileno=os.dup(0))
    sandbox.enter_sandbox(Path(sys.argv[1]), starts_processes=True)
    while True:
        seconds, descriptors, _, _ = socket.recv_fds(orders, _MAX_ORDER, 1)
        if not seconds:  # the reward process has ended
            return
        [report] = descriptors
        folder = Path(tempfile.mkdtemp(dir=sandbox.scratch_folder()))
        pids = _start_processes(report, int(seconds), folder)
        orders.recv(_MAX_ORDER)
        for pid in pids:
            os.kill(pid, signal.SIGKILL)  # the first process of its namespace, so all others end with it
            os.waitpid(pid, 0)
        shutil.rmtree(folder, ignore_errors=True)
        orders.send(b"ended")


def _start_processes(report: int, seconds: int, folder: Path) -> list[int]:
    """Starts the program's process and that of its tests; closes `report`, which leads to the reward process."""
    program_end, tests_end = (end.detach() for end in socket.socketpair())
    pids = [
        _start_process(lambda: serve_program(program_end), seconds, folder, program_end),
        _start_process(
            lambda: count_passing_tests(tests_end, report), seconds, sandbox.scratch_folder(), tests_end, report
        ),
    ]
    for descriptor in (program_end, tests_end, report):
        os.close(descriptor)
    return pids


def _start_process(run: Callable[[], None], seconds: int, folder: Path, *descriptors: int) -> int:
    """The pid of a new process without other descriptors than these, in namespaces of its own. folder: the only one
    that it may write to."""
    if pid := sandbox.fork_into_new_namespace():
        return pid
    os.setsid()  # signals to its group, which has members outside of the namespace, would reach these
    _keep_only_descriptors(*descriptors)
    sandbox.restrict_further(folder)
    limit_cpu_time(seconds)
    run()
    os._exit(0)


def _keep_only_descriptors(*descriptors: int) -> None:
    """Closes all descriptors of this process but these; the standard streams lead nowhere."""
    null_device = os.open(os.devnull, os.O_RDWR)
    for stream in (0, 1, 2):
        os.dup2(null_device, stream)
    for below, above in pairwise([2, *sorted(descriptors), os.sysconf("SC_OPEN_MAX")]):
        os.closerange(below + 1, above)


if __name__ == "__main__":
    main()
