"""Spares: a process that has imported everything waits in each home to become the next engine; how it is found and claimed.

It listens on a socket in the home's `locks/spare`, under a lock that it holds as long as it is one. A talk has three
lines: it says who it is and what it fits; it hears what to do; it says that it has begun. One that dies in between ends
the talk, one that is not whole ends no spare, and its lock and socket mean nothing without it. Nothing here is heavy.
"""

from __future__ import annotations

import contextlib
import fcntl
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

from app.core import registry
from app.core.processes import is_alive

Order = dict[str, Any]
HELLO, ANSWER = 1.0, 5.0  # seconds: a spare that does nothing answers at once, one that takes an order in milliseconds
ROOM = 2 * 2**30  # bytes that must be free before a spare is started: it holds 0.45 GB, and the run wants its own
# What a terminal tells the programs in it; no library takes a setting from these.
PASSING = ("_", "COLUMNS", "LINES", "OLDPWD", "PWD", "SHLVL", "TERM")


def folder() -> Path:
    return registry.home("locks", "spare")


@contextlib.contextmanager
def address() -> Iterator[str]:
    """The socket's. Such an address has 107 bytes at most, so the folder goes by the number it is open under, where it can."""
    descriptor = os.open(folder(), os.O_RDONLY | os.O_DIRECTORY)
    try:
        yield f"/proc/self/fd/{descriptor}/door" if os.path.exists("/proc/self/fd") else f"{folder()}/door"
    finally:
        os.close(descriptor)


def fingerprint() -> str:
    """One word for what an engine takes from where it is started: code, packages, settings, and its place on the machine.

    A spare and a launcher that differ in it never meet. The environment goes in whole, for libraries read it while they
    are imported; only the digest of all leaves the process.
    """
    settings = sorted((name, value) for name, value in os.environ.items() if name not in PASSING)
    place = (os.getuid(), sorted(os.sched_getaffinity(0)), os.getpriority(os.PRIO_PROCESS, 0))
    told = (sys.executable, sys.version, code(), packages(), settings, place)
    return hashlib.sha256(repr(told).encode("utf-8", "surrogateescape")).hexdigest()


def code() -> list[tuple[str, int, int]]:
    """Every source file below app/ with its size and time of change."""
    found = [(path, path.stat()) for path in sorted((registry.ROOT / "app").rglob("*.py"))]
    return [(str(path), stat.st_size, stat.st_mtime_ns) for path, stat in found]


def packages() -> list[tuple[str, int]]:
    """Every installed package, its version in its name, with the time of its installation."""
    homes = {sysconfig.get_path("purelib"), sysconfig.get_path("platlib")}
    entries = (entry for home in homes if os.path.isdir(home) for entry in os.scandir(home))
    return sorted((entry.name, entry.stat().st_mtime_ns) for entry in entries if entry.name.endswith(".dist-info"))


def claim(run: Path, control_from: int) -> dict[str, Any] | None:
    """Hands a run to the spare. Returns the identity of the process that is its engine now; None when no spare fits."""
    order = {"run": str(run), "control_from": control_from}
    return talk(lambda fits: order if fits == fingerprint() else None)


def ready() -> bool:
    """Does a spare wait here that would take a run from this process?"""
    seen: list[bool] = []
    talk(lambda fits: seen.append(fits == fingerprint()))
    return seen == [True]


def wanted() -> bool:
    """Should a spare be started now? Not beside another, not while a run needs the cores, not where memory is short.

    One that fits nobody here, as after an update, is sent away.
    """
    leaving = talk(lambda fits: {"leave": True} if fits != fingerprint() else None)
    if leaving:
        end(leaving)
    return not (is_locked(folder() / "alone") or running() or psutil.virtual_memory().available < ROOM)


def talk(decide: Callable[[str], Order | None]) -> dict[str, Any] | None:
    """Asks the spare what it fits; gives it the order that `decide` makes of that. Its identity once it has begun."""
    hello: dict[str, Any] = {}
    order = None
    try:
        with connected() as (channel, line):
            hello = json.loads(line.readline())
            order = decide(hello["fits"])
            if order is None:
                return None
            line.write(json.dumps(order).encode() + b"\n")
            channel.settimeout(ANSWER)
            if line.readline() == b"begun\n":
                return hello["identity"]
    except (OSError, ValueError):  # a border: there is none, it is somebody else's now, or it died
        pass
    if order is not None:
        end(hello["identity"])  # it may have begun, or may yet: only one engine may
    return None


@contextlib.contextmanager
def connected() -> Iterator[tuple[socket.socket, Any]]:
    with socket.socket(socket.AF_UNIX) as channel, address() as where:
        channel.settimeout(HELLO)
        channel.connect(where)
        with channel.makefile("rwb", buffering=0) as line:
            yield channel, line


def end(identity: dict[str, Any]) -> None:
    """Kills a process by its identity and waits until it is gone."""
    with contextlib.suppress(ProcessLookupError):
        if is_alive(identity):
            os.kill(identity["pid"], signal.SIGKILL)
    while is_alive(identity):
        time.sleep(0.01)


def running() -> bool:
    """Does a run compute in this home? Its engine holds its device's lock."""
    return any(is_locked(path) for path in folder().parent.glob("*.lock"))


def is_locked(path: Path) -> bool:
    with path.open("a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False
