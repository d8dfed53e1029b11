"""Processes: is that one still the one we started? A pid alone may have been given to somebody else since."""

from __future__ import annotations

import contextlib
import errno
import time
from pathlib import Path
from typing import Any

import psutil

# The priority of a session that nobody waits for yet: a tenth of what others get; at 19 it would come too late.
GENTLE = 10


def identity(pid: int) -> dict[str, Any]:
    """pid, start time and boot id: together they name one process for ever."""
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
    except psutil.NoSuchProcess:  # a border: it ended between two looks
        return False


def set_priority(level: int) -> None:
    """Of this whole session, 0 to 19; `nice` counts only within a session where the kernel groups processes by session.

    Does nothing where it has no such groups, or the level is this one already. Raises OSError when the kernel refuses.
    """
    group = Path("/proc/self/autogroup")
    for _ in range(20):
        if not group.exists() or group.read_text().split()[-1:] in ([], [str(level)]):
            return
        with contextlib.suppress(BlockingIOError):  # the kernel takes one change in a tenth of a second
            group.write_text(str(level))
        time.sleep(0.01)
    raise OSError(errno.EAGAIN, "the kernel takes no change of priority")
