"""Guard of a process: a small process beside it, which ends it once its parent has ended or it takes too much.

The kernel limits the memory of one process, but not of all that it starts; it limits their number, but not for root. And
a process that computes for ever does not notice that its parent was killed.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import re
import signal
import sys
import time
from pathlib import Path
from typing import NamedTuple

SET_DEATH_SIGNAL = 1  # of prctl: PR_SET_PDEATHSIG
_POLL_SECONDS = 0.1
_MEMORY_FIELDS = re.compile(r"^Rss(?:Anon|Shmem):\s+(\d+) kB$", re.MULTILINE)  # not RssFile: Python itself, on disk


class Limits(NamedTuple):
    """What a process and all that it starts may take together. memory: bytes. threads: of all of them."""

    memory: int
    threads: int


def can_measure() -> bool:
    """Whether this system says which processes a process has started."""
    return Path(f"/proc/self/task/{os.getpid()}/children").exists()


def start_guard(limits: Limits | None = None, spare_first: bool = False) -> None:
    """Forks: the child goes on, and this process guards it and then exits as it did. On Linux only with `limits`.

    spare_first: above the limits, end not the child, but what it has started.
    """
    parent = os.getppid()
    guarded = os.fork()
    if not guarded:
        _end_with_parent()
        return
    while True:
        pid, wait_status = os.waitpid(guarded, os.WNOHANG)
        if pid:
            os._exit(os.waitstatus_to_exitcode(wait_status) & 0xFF)
        if os.getppid() != parent:
            os.kill(guarded, signal.SIGKILL)
        elif limits and _exceeds(guarded, limits):
            print("ended what took more memory or more processes than it may", file=sys.stderr, flush=True)
            for taker in _children(guarded) if spare_first else [guarded]:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(taker, signal.SIGKILL)
        time.sleep(_POLL_SECONDS)


def _end_with_parent() -> None:
    """Has the kernel end this process when its guard is killed: it may have left the guard's session, with which the pool kills."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(SET_DEATH_SIGNAL, signal.SIGKILL)


def _exceeds(first: int, limits: Limits) -> bool:
    """Whether this process and its descendants take more than they may."""
    memory = threads = 0
    pids = [first]
    for pid in pids:  # grows meanwhile
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):  # it has ended
            memory += 1024 * sum(map(int, _MEMORY_FIELDS.findall(Path(f"/proc/{pid}/status").read_text())))
            threads += len(os.listdir(f"/proc/{pid}/task"))
            pids += _children(pid)
        if memory > limits.memory or threads > limits.threads:
            return True
    return False


def _children(pid: int) -> list[int]:
    """The pids of the living processes that a process, or one of its threads, has started or inherited."""
    children: list[int] = []
    with contextlib.suppress(FileNotFoundError, ProcessLookupError):  # it has ended
        for thread in os.listdir(f"/proc/{pid}/task"):
            children += map(int, Path(f"/proc/{pid}/task/{thread}/children").read_text().split())
    return children
