"""Processes: is that one still the one we started? A pid alone may have been given to somebody else since."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import psutil


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
