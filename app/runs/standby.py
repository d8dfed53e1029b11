"""Standby engine, the launcher's side: finds and claims the idle process that becomes the next run's engine.

That process has imported all libraries already, so that a run starts within a second. There is at most one per home. It
listens on a Unix socket in the home's `locks/spare` and holds a lock there for as long as it waits. The protocol has
three lines: the standby engine sends {"identity", "fits": its fingerprint}; the launcher sends an order, {"run",
"control_from"} or {"leave": true}; the standby engine answers `begun` once it is the engine of that run. When either
side dies, the connection ends; the lock and the socket of a dead process mean nothing. The other side is
app/engine/standby.py. This module imports no heavy library.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import signal
import socket
import sys
import sysconfig
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil

from app.core import paths, platform
from app.core.processes import is_alive
from app.core.workspace import Workspace

_Order = dict[str, Any]
GREETING_TIMEOUT = 1.0  # seconds; an idle standby engine sends its greeting at once
_START_TIMEOUT = 5.0  # seconds; it takes an order within milliseconds
_MIN_FREE_MEMORY = 2 * 2**30  # bytes; a standby engine holds 0.45 GB, and the run needs memory of its own
# Environment variables that differ between terminals. No library reads a setting from them.
_IGNORED_VARIABLES = ("_", "COLUMNS", "LINES", "OLDPWD", "PWD", "SHLVL", "TERM")


def standby_folder(workspace: Workspace) -> Path:
    """Folder of the socket, the lock and the log of the standby engine."""
    return workspace.folder("locks", "spare")


@contextlib.contextmanager
def socket_address(workspace: Workspace) -> Iterator[str]:
    """Path of the socket.

    A socket path has at most 107 bytes, so on Linux the folder is named by an open file descriptor.
    """
    descriptor = os.open(standby_folder(workspace), os.O_RDONLY | os.O_DIRECTORY)
    try:
        yield (
            f"/proc/self/fd/{descriptor}/door"
            if os.path.exists("/proc/self/fd")
            else f"{standby_folder(workspace)}/door"
        )
    finally:
        os.close(descriptor)


def _usable_cpus() -> list[int]:
    """The CPUs that this process may use; empty on macOS, which binds no process to CPUs."""
    if sys.platform == "linux":
        return sorted(os.sched_getaffinity(0))
    return []


def environment_fingerprint() -> str:
    """A hash of all that an engine inherits from its launcher: code, packages, environment variables, user, CPUs and
    priority.

    A standby engine is only used by a launcher with the same fingerprint. All environment variables count, because
    libraries read them while they are imported; only the hash leaves the process.
    """
    variables = sorted((name, value) for name, value in os.environ.items() if name not in _IGNORED_VARIABLES)
    process_limits = (os.getuid(), _usable_cpus(), os.getpriority(os.PRIO_PROCESS, 0))
    components = (sys.executable, sys.version, _source_files(), _installed_packages(), variables, process_limits)
    return hashlib.sha256(repr(components).encode("utf-8", "surrogateescape")).hexdigest()


def _source_files() -> list[tuple[str, int, int]]:
    """(path, size, modification time) of every source file below app/."""
    file_stats = [(path, path.stat()) for path in sorted((paths.ROOT / "app").rglob("*.py"))]
    return [(str(path), stat.st_size, stat.st_mtime_ns) for path, stat in file_stats]


def _installed_packages() -> list[tuple[str, int]]:
    """(folder name with version, installation time) of every installed package."""
    package_folders = {sysconfig.get_path("purelib"), sysconfig.get_path("platlib")}
    entries = (entry for folder in package_folders if os.path.isdir(folder) for entry in os.scandir(folder))
    return sorted((entry.name, entry.stat().st_mtime_ns) for entry in entries if entry.name.endswith(".dist-info"))


def claim_standby(workspace: Workspace, run_folder: Path, control_from: int) -> dict[str, Any] | None:
    """Gives a run to the standby engine.

    Returns the identity of the process that is the engine now; None when there is no standby engine with this
    fingerprint. control_from: size in bytes of control.jsonl before this start; earlier commands are not for this
    attempt.
    """
    order = {"run": str(run_folder), "control_from": control_from}
    return _exchange(workspace, lambda fingerprint: order if fingerprint == environment_fingerprint() else None)


def is_standby_ready(workspace: Workspace) -> bool:
    """Whether a standby engine waits that this process could use."""
    matches: list[bool] = []
    _exchange(workspace, lambda fingerprint: matches.append(fingerprint == environment_fingerprint()))
    return matches == [True]


def should_start_standby(workspace: Workspace) -> bool:
    """Whether to start one now: there is no other, no run uses the device, and enough memory is free.

    A standby engine with another fingerprint, as after an update, is ended first.
    """
    outdated_standby = _exchange(
        workspace, lambda fingerprint: {"leave": True} if fingerprint != environment_fingerprint() else None
    )
    if outdated_standby:
        kill_process(outdated_standby)
    return not (
        platform.is_locked(standby_folder(workspace) / "alone")
        or _is_device_locked(workspace)
        or psutil.virtual_memory().available < _MIN_FREE_MEMORY
    )


def _exchange(workspace: Workspace, decide: Callable[[str], _Order | None]) -> dict[str, Any] | None:
    """One exchange with the standby engine: `decide` gets its fingerprint and returns the order to send, or None.

    Returns the identity of the process once it has accepted the order.
    """
    hello: dict[str, Any] = {}
    order = None
    try:
        with connect(workspace) as (connection, stream):
            hello = json.loads(stream.readline())
            order = decide(hello["fits"])
            if order is None:
                return None
            stream.write(json.dumps(order).encode() + b"\n")
            connection.settimeout(_START_TIMEOUT)
            if stream.readline() == b"begun\n":
                return hello["identity"]
    except (OSError, ValueError):  # boundary: there is none, another launcher took it, or it died
        pass
    if order is not None:
        kill_process(hello["identity"])  # it may still start, and a run must have only one engine
    return None


@contextlib.contextmanager
def connect(workspace: Workspace) -> Iterator[tuple[socket.socket, Any]]:
    """The connection and its byte stream. Raises OSError when nothing listens."""
    with socket.socket(socket.AF_UNIX) as connection, socket_address(workspace) as path:
        connection.settimeout(GREETING_TIMEOUT)
        connection.connect(path)
        with connection.makefile("rwb", buffering=0) as stream:
            yield connection, stream


def kill_process(identity: dict[str, Any]) -> None:
    """Kills a process by its identity and waits until it is gone."""
    with contextlib.suppress(ProcessLookupError):
        if is_alive(identity):
            os.kill(identity["pid"], signal.SIGKILL)
    while is_alive(identity):
        time.sleep(0.01)


def _is_device_locked(workspace: Workspace) -> bool:
    """Whether a run computes in this home: its engine holds the lock of its device."""
    return any(platform.is_locked(path) for path in standby_folder(workspace).parent.glob("*.lock"))
