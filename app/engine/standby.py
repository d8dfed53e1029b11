"""Spare: `python -m app.engine.standby PARENT` imports everything an engine needs, waits, and becomes the engine of one run."""

from __future__ import annotations

import contextlib
import fcntl
import gc
import json
import os
import select
import socket
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from tempfile import gettempdir

from app.core.processes import GENTLE, identity, set_priority
from app.engine.libraries import prepare_libraries, warm_up
from app.runs import standby
from app.runs.standby import Order

IDLE = 3600.0  # seconds it waits to be claimed
LOOK = 2.0  # seconds between two looks at whether its parent still lives
CARDS = "PYTORCH_NVML_BASED_CUDA_CHECK"  # counts them without waking them


def main() -> int:
    parent, idle = int(sys.argv[1]), float((sys.argv[2:] or [IDLE])[0])
    lock = (standby.folder() / "alone").open("a")
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:  # one is enough
        return 0
    with contextlib.suppress(OSError):  # a border: where the kernel does not allow it, the spare is not gentle
        set_priority(GENTLE)
    fits = standby.fingerprint()  # of the code on the disk before it is imported
    prepare()
    order = attend(fits, parent, idle)
    lock.close()  # the next spare may come
    return become_engine(order) if order and "run" in order else 0


def prepare() -> None:
    """Imports, and what the libraries work out once, as on the first model."""
    prepare_libraries()
    with cards_left_alone():
        warm_up()
        rehearse()
    gc.collect()
    gc.freeze()  # later collections pass over what stays for ever: 0.4 s less to the first step


@contextlib.contextmanager
def cards_left_alone() -> Iterator[None]:
    """Which graphics cards it sees is for the run to say, and torch's usual way of counting them would fix that now."""
    assert "torch" not in sys.modules, "torch must be imported where it may not count the cards"
    before = os.environ.get(CARDS)
    os.environ[CARDS] = "1"
    yield
    os.environ.pop(CARDS)
    if before is not None:
        os.environ[CARDS] = before
    assert not sys.modules["torch"].cuda.is_initialized(), "a spare must leave the choice of a graphics card to its run"


def rehearse() -> None:
    """Prepares two rows for the practice model and loads it, so that what is worked out once is."""
    from transformers import AutoModelForCausalLM

    from app.engine.job import Job
    from app.engine.model.device import Device
    from app.engine.tokens import decode
    from app.planning.resolve import resolve
    from app.setup import models
    from app.setup.spec import read

    setup = {"v": 1, "method": "sft", "data": [{"source": "sample:tickets"}]}
    decode.rows(Job(resolve(read(setup)), Path(gettempdir()), Device("cpu"), rows=2))
    AutoModelForCausalLM.from_pretrained(models.locate("pocket"))


def attend(fits: str, parent: int, idle: float) -> Order | None:
    """Opens the door and waits for an order; None when the parent has ended or nobody came."""
    with socket.socket(socket.AF_UNIX) as door, standby.address() as where:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(where)  # of one that died; this one holds the lock
        door.bind(where)
        os.chmod(where, 0o600)
        door.listen()
        try:
            return wait(door, fits, parent, idle)
        finally:
            os.unlink(where)  # who stands in the line now is turned away when the door closes


def wait(door: socket.socket, fits: str, parent: int, idle: float) -> Order | None:
    deadline = time.monotonic() + idle
    while os.getppid() == parent and time.monotonic() < deadline:
        if select.select([door], [], [], LOOK)[0]:
            order = converse(door, fits)
            if order:
                return order
    return None


def converse(door: socket.socket, fits: str) -> Order | None:
    """The order of one visitor; None when it goes away without one, whole and in time."""
    try:
        visitor, _ = door.accept()
        with visitor, visitor.makefile("rwb", buffering=0) as line:
            visitor.settimeout(standby.HELLO)
            line.write(json.dumps({"fits": fits, "identity": identity(os.getpid())}).encode() + b"\n")
            said = line.readline()
            if not said.endswith(b"\n"):
                return None
            set_priority(0)
            with contextlib.suppress(OSError):  # the run is this one's now, also when its launcher died
                line.write(b"begun\n")
            return json.loads(said)
    except OSError:  # a border: the visitor died, or is slow
        return None


def become_engine(order: Order) -> int:
    """From here on like `python -m app.engine RUN`, with the run's log as its output."""
    log = os.open(Path(order["run"]) / "log.txt", os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o666)
    for output in (sys.stdout, sys.stderr):
        output.flush()
        os.dup2(log, output.fileno())
    os.close(log)
    from app.engine.__main__ import main as engine

    return engine([order["run"], "--control-from", str(order["control_from"])])


if __name__ == "__main__":
    sys.exit(main())
