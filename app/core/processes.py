"""Identity and priority of processes. A pid alone is not enough: the system reuses it for other processes."""

from __future__ import annotations

import contextlib
import errno
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import IO, TypedDict

import psutil

from app.core import paths

# Nice level of a session that nobody waits for yet: about a tenth of the CPU time of others. At 19 it would start too
# late.
LOW_PRIORITY = 10


class ProcessIdentity(TypedDict):
    """Identifies one process for ever. started: Unix time; boot: id of the start of this machine."""

    pid: int
    started: float
    boot: str


def process_identity(pid: int) -> ProcessIdentity:
    """The identity of a process that lives now."""
    return {"pid": pid, "started": psutil.Process(pid).create_time(), "boot": boot_id()}


def boot_id() -> str:
    path = Path("/proc/sys/kernel/random/boot_id")
    return path.read_text().strip() if path.exists() else str(psutil.boot_time())


def is_alive(identity: Mapping[str, object]) -> bool:
    """Whether this process lives: False for a dead one, a zombie, another boot, a pid that now names another process,
    and a mapping that identifies none, such as {}."""
    pid, started = identity.get("pid"), identity.get("started")
    if not isinstance(pid, int) or not isinstance(started, int | float) or identity.get("boot") != boot_id():
        return False
    try:
        process = psutil.Process(pid)
        return process.status() != psutil.STATUS_ZOMBIE and abs(process.create_time() - started) < 1
    except psutil.NoSuchProcess:  # it ended between the two calls
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
