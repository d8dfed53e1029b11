"""Turn: engines wait for a device in order, without a server. The kernel frees the place of one that dies.

Each engine holds a ticket file under an exclusive lock, so a ticket that can be locked by somebody else is a dead one's.
The oldest living ticket takes the device's lock. Nothing here imports torch: waiting costs a few megabytes.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from app.core import registry

PATIENCE = 0.2  # seconds between two looks
GLANCE = 0.02


@contextlib.contextmanager
def turn(device: str, name: str, waiting: Callable[[int], None], check: Callable[[], None]) -> Iterator[None]:
    """Holds `device` for the body. waiting(n) is told when n others are ahead; check() may raise to give up the place."""
    queue = registry.home("locks", device.replace(":", "-"))
    with held(take_ticket(queue, name)) as ticket, open(queue.parent / f"{queue.name}.lock", "w") as lock:
        told = None
        while True:
            ahead = tickets_before(queue, ticket)
            if ahead == 0 and taken(lock.fileno()):
                break
            if told != max(ahead, 1):
                told = max(ahead, 1)
                waiting(told)
            check()
            time.sleep(PATIENCE)
        ticket.unlink()  # the next in the queue now waits for the device itself
        yield


def take_ticket(queue: Path, name: str) -> Path:
    return queue / f"{time.time_ns():020d}-{name}"


@contextlib.contextmanager
def held(ticket: Path) -> Iterator[Path]:
    """The ticket, made under its lock before it gets its name: no other engine can mistake it for a dead one's."""
    draft = ticket.with_name(f".{ticket.name}")
    with draft.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        draft.rename(ticket)
        try:
            yield ticket
        finally:
            ticket.unlink(missing_ok=True)


def tickets_before(queue: Path, ticket: Path) -> int:
    """How many living engines came earlier; tickets of dead ones are cleared away."""
    earlier = [entry for entry in sorted(os.listdir(queue)) if not entry.startswith(".") and entry < ticket.name]
    return sum(is_held(queue / entry) for entry in earlier)


def is_held(ticket: Path) -> bool:
    try:
        with ticket.open("r+") as file:
            if not try_lock(file.fileno()):
                return True
            ticket.unlink(missing_ok=True)
    except FileNotFoundError:
        pass
    return False


def taken(device: int) -> bool:
    """Takes the device's lock if it is free. Who only looks whether it is, as app/runs/standby.py does, holds it for a moment."""
    if try_lock(device):
        return True
    time.sleep(GLANCE)
    return try_lock(device)


def try_lock(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
