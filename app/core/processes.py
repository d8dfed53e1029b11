"""Identity and priority of processes. A pid alone is not enough: the system reuses it for other processes."""

from __future__ import annotations

import contextlib
import errno
import os
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import IO, NotRequired, TypedDict

import psutil

from app.core import paths

# Nice level of a session that nobody waits for yet: about a tenth of the CPU time of others. At 19 it would start too
# late.
LOW_PRIORITY = 10


class ProcessIdentity(TypedDict):
    """Identifies one process for ever. On Linux, where a step of the clock moves the start times of all processes:
    start_ticks, the clock ticks from the start of the machine to that of the process, and boot, the id of that start of
    the machine. Elsewhere, and in files of earlier versions: started, in Unix time."""

    pid: int
    start_ticks: NotRequired[int]
    boot: NotRequired[str]
    started: NotRequired[float]


def process_identity(pid: int) -> ProcessIdentity:
    """The identity of a process that lives now."""
    if sys.platform != "linux":
        return {"pid": pid, "started": psutil.Process(pid).create_time()}
    start_ticks = _start_ticks(pid)
    assert start_ticks is not None, f"process {pid} has ended"
    return {"pid": pid, "start_ticks": start_ticks, "boot": boot_id()}


def boot_id() -> str:
    """The id of this start of the machine; empty where the system has none."""
    path = Path("/proc/sys/kernel/random/boot_id")
    return path.read_text().strip() if path.exists() else ""


def is_alive(identity: Mapping[str, object]) -> bool:
    """Whether this process lives: False for a dead one, a zombie, another boot, a pid that now names another process,
    and a mapping that identifies none, such as {}."""
    pid, start_ticks, started = (identity.get(name) for name in ("pid", "start_ticks", "started"))
    if not isinstance(pid, int) or (sys.platform == "linux" and identity.get("boot") != boot_id()):
        return False
    if isinstance(start_ticks, int):
        return start_ticks == _start_ticks(pid)
    return isinstance(started, int | float) and _has_started_at(pid, started)


def _start_ticks(pid: int) -> int | None:
    """Clock ticks from the start of the machine to that of a process; None when it has ended, also as a zombie. On Linux
    only."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_bytes()
    except (FileNotFoundError, ProcessLookupError):  # it may end while it is read
        return None
    state, *fields = stat.rpartition(b")")[2].split()  # from the third field on; the second is a name in parentheses
    return None if state in (b"Z", b"X") else int(fields[18])  # field 22 in `man 5 proc_pid_stat`


def _has_started_at(pid: int, started: float) -> bool:
    """Whether a living process has this pid and started at this Unix time."""
    try:
        process = psutil.Process(pid)
        return process.status() != psutil.STATUS_ZOMBIE and abs(process.create_time() - started) < 1
    except psutil.NoSuchProcess:  # it may end between the two calls
        return False


def start_detached(module: str, *arguments: str, output: IO[bytes]) -> subprocess.Popen[bytes]:
    """Starts a Python module in a session of its own: neither Ctrl-C here nor the end of this process reaches it."""
    process = subprocess.Popen(
        [sys.executable, "-m", module, *arguments],
        cwd=paths.ROOT,
        stdin=subprocess.DEVNULL,
        stdout=output,
        stderr=output,
        start_new_session=True,
    )
    threading.Thread(target=process.wait, daemon=True).start()  # reaps it when it ends: no zombie stays
    return process


def set_session_priority(nice: int) -> None:
    """Sets the nice level (0 to 19) of this process's session, where Linux schedules by session (autogroup).

    There `nice` itself only orders the processes within one session. Does nothing where the kernel has no autogroups,
    or where the level is set already. Raises OSError when the kernel refuses.
    """
    autogroup = Path("/proc/self/autogroup")
    for _ in range(20):
        if not autogroup.exists() or autogroup.read_text().split()[-1:] in ([], [str(nice)]):
            return
        with contextlib.suppress(BlockingIOError):  # the kernel accepts one change in 0.1 seconds
            autogroup.write_text(str(nice))
        time.sleep(0.01)
    raise OSError(errno.EAGAIN, "the kernel takes no change of priority")


def redirect_stdout_to_stderr() -> None:
    """For a child process that answers on its stdout: libraries that print to stdout print to stderr instead.

    Duplicate stdout before, to keep a way to answer.
    """
    sys.stdout.flush()
    os.dup2(2, 1)
