"""Identity and priority of processes. A pid alone is not enough: the system reuses it for other processes."""

from __future__ import annotations

import contextlib
import errno
import time
from pathlib import Path
from typing import Any

import psutil

# Nice level of a session that nobody waits for yet: about a tenth of the CPU time of others. At 19 it would start too
# late.
LOW_PRIORITY = 10


def process_identity(pid: int) -> dict[str, Any]:
    """{"pid", "started", "boot"}: together they identify one process for ever."""
    return {"pid": pid, "started": psutil.Process(pid).create_time(), "boot": boot_id()}


def boot_id() -> str:
    path = Path("/proc/sys/kernel/random/boot_id")
    return path.read_text().strip() if path.exists() else str(psutil.boot_time())


def is_alive(handle: dict[str, Any]) -> bool:
    """False for a dead process, a zombie, another boot, or a pid that now names another process."""
    if not handle.get("pid") or handle.get("boot") != boot_id():
        return False
    try:
        process = psutil.Process(handle["pid"])
        return process.status() != psutil.STATUS_ZOMBIE and abs(process.create_time() - handle["started"]) < 1
    except psutil.NoSuchProcess:  # it ended between the two calls
        return False


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
