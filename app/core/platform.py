"""The one place for what differs between systems, and between a Space and a machine of one's own."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType
from typing import IO

from app.core.problems import Problem

if sys.platform != "win32":
    import fcntl
    import resource

_LOCK_POLL_SECONDS = 0.02  # longer than a process that only tests a lock holds it


def require_supported_system() -> None:
    """Raises Problem on native Windows, where locks, signals and the sandbox are missing."""
    if sys.platform == "win32":
        raise Problem(
            "Tunesmith does not run on Windows itself.",
            advice="Install WSL2 (`wsl --install` in PowerShell), and start it in the Linux that this gives you.",
        )


SHARED_VARIABLE = "TUNESMITH_SHARED"


def is_space() -> bool:
    """Whether this page runs as a Hugging Face Space."""
    return os.environ.get("SYSTEM") == "spaces"


def is_shared() -> bool:
    """Whether this page is open to other machines, and its owner did not allow code and files of this machine at start.

    app.py says so in the environment, which its worker and engines inherit; the owner's own commands do not."""
    return os.environ.get(SHARED_VARIABLE) == "1"


def takes_local_files() -> bool:
    """Whether a setup may name files of this machine."""
    return not is_space() and not is_shared()


def lock_file(file: IO[str] | IO[bytes]) -> None:
    """Waits for the exclusive lock of an open file. The kernel releases it when the file is closed or the process dies,
    and keeps it when the file is renamed."""
    fcntl.flock(file, fcntl.LOCK_EX)


def try_lock_file(file: IO[str] | IO[bytes], shared: bool = False) -> bool:
    """Takes the lock of an open file if it is free, and returns whether it did. shared: beside others that share it, as
    to test whether somebody holds it alone."""
    try:
        fcntl.flock(file, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def lock_file_within(
    file: IO[str] | IO[bytes], seconds: float, is_hopeless: Callable[[], bool] = lambda: False
) -> bool:
    """Takes the exclusive lock of an open file once it is free. False when it is not free in time, or `is_hopeless`
    says not to wait. For locks that `is_locked` tests: the test holds them for a moment."""
    deadline = time.monotonic() + seconds
    while not try_lock_file(file):
        if time.monotonic() >= deadline or is_hopeless():
            return False
        time.sleep(_LOCK_POLL_SECONDS)
    return True


def is_locked(path: Path) -> bool:
    """Whether a living process holds the exclusive lock of this file; False where there is no such file."""
    with contextlib.suppress(FileNotFoundError), path.open("rb") as file:
        return not try_lock_file(file, shared=True)
    return False


@contextlib.contextmanager
def keep_unlocked(path: Path) -> Iterator[bool]:
    """Lets nobody take the exclusive lock of this file in the `with` block. Gives False where somebody holds it already.
    Makes the file where there is none."""
    with path.open("ab") as file:
        yield try_lock_file(file, shared=True)


def kill_process_group(leader_pid: int) -> None:
    """Kills the process that leads a group and all others in it. Nothing happens where it has ended."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(leader_pid, signal.SIGKILL)


# -- limits of this process ---------------------------------------------------------------------------------------------


class TimeLimitExceeded(Exception):
    """A computation takes longer than `time_limit` allows."""


@contextlib.contextmanager
def time_limit(seconds: float) -> Iterator[None]:
    """Raises TimeLimitExceeded in the `with` block after so many seconds. In the main thread of a process only."""

    def stop(_signal_number: int, _frame: FrameType | None) -> None:
        raise TimeLimitExceeded

    previous_handler = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, previous_handler)


@contextlib.contextmanager
def memory_limit(max_bytes: int) -> Iterator[None]:
    """Raises MemoryError in the `with` block where this process takes that many bytes more than before. On Linux only."""
    used_bytes = _address_space_bytes()
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    if used_bytes:
        resource.setrlimit(resource.RLIMIT_AS, (used_bytes + max_bytes, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))


def _address_space_bytes() -> int:
    """Bytes of address space that this process uses; 0 where the system does not say."""
    try:
        return int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    except OSError:  # a boundary: not on Linux
        return 0


def limit_cpu_time(seconds: int) -> None:
    """Lets the system end this process with SIGXCPU after so many seconds of computing; waiting does not count."""
    # At the second limit the signal is SIGKILL, which does not say why.
    resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds + 1))


def limit_resources(*, memory: int, file_size: int, processes: int, open_files: int) -> None:
    """Limits this process and its children for good: bytes of address space and of a file that is written, numbers of
    processes and of open files, and no core dumps."""
    for limited_resource, limit in (
        (resource.RLIMIT_AS, memory),
        (resource.RLIMIT_FSIZE, file_size),
        (resource.RLIMIT_NPROC, processes),
        (resource.RLIMIT_NOFILE, open_files),
        (resource.RLIMIT_CORE, 0),
    ):
        resource.setrlimit(limited_resource, (limit, limit))
