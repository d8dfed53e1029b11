"""Device queue: engines wait for a device in order, without a server; the kernel removes those that die.

Each engine holds a ticket file under an exclusive lock, so a ticket that another process can lock belongs to a dead
engine. The oldest living ticket takes the device's lock. Nothing here imports torch: waiting costs a few megabytes."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from app.core import platform
from app.core.workspace import Workspace

_POLL_SECONDS = 0.2
_LOCK_GRACE_SECONDS = 0.02  # that a process which only tests the device's lock (app/runs/standby.py) may hold it


@contextlib.contextmanager
def queue_for_device(
    workspace: Workspace, device: str, name: str, waiting: Callable[[int], None], check: Callable[[], None]
) -> Iterator[None]:
    """Waits for `device` and holds it for the body.

    waiting(n) is called when the number n of those ahead changes; check() is called while waiting and may raise to
    leave the queue."""
    queue = workspace.folder("locks", device.replace(":", "-"))
    with _held_ticket(_ticket_path(queue, name)) as ticket, open(queue.parent / f"{queue.name}.lock", "w") as lock:
        reported = None
        while True:
            ahead = _count_earlier_tickets(queue, ticket)
            if ahead == 0 and platform.lock_file_within(lock, _LOCK_GRACE_SECONDS):
                break
            if reported != max(ahead, 1):
                reported = max(ahead, 1)
                waiting(reported)
            check()
            time.sleep(_POLL_SECONDS)
        ticket.unlink()  # the next in the queue now waits for the device's lock
        yield


def _ticket_path(queue: Path, name: str) -> Path:
    """Tickets sort by the time since the start of the machine, as a step of the clock must not change their order."""
    return queue / f"{time.monotonic_ns():020d}-{name}"


@contextlib.contextmanager
def _held_ticket(ticket: Path) -> Iterator[Path]:
    """The ticket, locked before it gets its name: so no other engine can take it for that of a dead one."""
    draft = ticket.with_name(f".{ticket.name}")
    with draft.open("w") as file:
        platform.lock_file(file)
        draft.rename(ticket)
        try:
            yield ticket
        finally:
            ticket.unlink(missing_ok=True)


def _count_earlier_tickets(queue: Path, ticket: Path) -> int:
    """How many living engines came earlier; removes the tickets of dead ones."""
    earlier = [name for name in sorted(os.listdir(queue)) if not name.startswith(".") and name < ticket.name]
    return sum(_is_held(queue / name) for name in earlier)


def _is_held(ticket: Path) -> bool:
    """Whether a living engine holds the ticket; removes it otherwise."""
    try:
        with ticket.open("r+") as file:
            if not platform.try_lock_file(file):
                return True
            ticket.unlink(missing_ok=True)
    except FileNotFoundError:
        pass
    return False
