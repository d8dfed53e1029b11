"""Standby engine: `python -m app.engine.standby PARENT` imports everything and becomes the engine of one run."""

from __future__ import annotations

import contextlib
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
from typing import Any

from app.core import platform
from app.core.processes import LOW_PRIORITY, process_identity, set_session_priority
from app.core.workspace import local_workspace
from app.engine.libraries import prepare_libraries, warm_up
from app.runs import standby

_Order = dict[str, Any]  # {"run": the run's folder, "control_from"}, as app/runs/standby.py sends it
_IDLE_SECONDS = 3600.0  # that it waits to be claimed
_PARENT_CHECK_SECONDS = 2.0  # between two checks whether its parent still lives
_NVML_CHECK = "PYTORCH_NVML_BASED_CUDA_CHECK"  # makes torch count the GPUs without initializing CUDA


def main() -> int:
    """The exit status of the run's engine; 0 without a run."""
    parent = int(sys.argv[1])
    idle_seconds = float(sys.argv[2]) if len(sys.argv) > 2 else _IDLE_SECONDS
    lock = (standby.standby_folder(local_workspace()) / "alone").open("a")
    if not platform.try_lock_file(lock):  # one standby engine is enough
        return 0
    with contextlib.suppress(OSError):  # boundary: where the kernel does not allow it, the priority stays
        set_session_priority(LOW_PRIORITY)
    fingerprint = standby.environment_fingerprint()  # of the code on disk before it is imported
    import_libraries()
    order = _wait_for_order(fingerprint, parent, idle_seconds)
    lock.close()  # the next standby engine may start
    return _become_engine(order) if order and "run" in order else 0


def import_libraries() -> None:
    """The imports, and what the libraries compute once, with the first model."""
    prepare_libraries()
    with _without_cuda_initialization():
        warm_up()
        _prepare_practice_model()
    gc.collect()
    gc.freeze()  # later collections skip what stays for ever: 0.4 s less to the first step


@contextlib.contextmanager
def _without_cuda_initialization() -> Iterator[None]:
    """Which GPUs are visible is for the run to choose, and torch's usual way of counting them would fix that now."""
    assert "torch" not in sys.modules, "torch must be imported where it may not count the cards"
    before = os.environ.get(_NVML_CHECK)
    os.environ[_NVML_CHECK] = "1"
    yield
    os.environ.pop(_NVML_CHECK)
    if before is not None:
        os.environ[_NVML_CHECK] = before
    assert not sys.modules["torch"].cuda.is_initialized(), "a spare must leave the choice of a graphics card to its run"


def _prepare_practice_model() -> None:
    """Prepares two rows for the practice model and loads it, so that what is computed once is."""
    from transformers import AutoModelForCausalLM

    from app.engine.job import Job
    from app.engine.model.device import Device
    from app.engine.tokens import decode
    from app.planning.resolve import resolve
    from app.setup import models
    from app.setup.spec import parse_spec

    spec = parse_spec({"v": 1, "method": "sft", "data": [{"source": "sample:tickets"}]})
    decode.decode_first_rows(Job(resolve(spec), Path(gettempdir()), Device("cpu"), max_rows=2))
    AutoModelForCausalLM.from_pretrained(models.locate_model("pocket"))


def _wait_for_order(fingerprint: str, parent: int, idle_seconds: float) -> _Order | None:
    """Listens on the socket for an order; None when the parent has ended or nobody came."""
    with socket.socket(socket.AF_UNIX) as listener, standby.socket_address(local_workspace()) as address:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(address)  # of one that died; this one holds the lock
        listener.bind(address)
        os.chmod(address, 0o600)
        listener.listen()
        try:
            return _accept_order(listener, fingerprint, parent, idle_seconds)
        finally:
            os.unlink(address)  # clients that still wait are refused when the socket closes


def _accept_order(listener: socket.socket, fingerprint: str, parent: int, idle_seconds: float) -> _Order | None:
    deadline = time.monotonic() + idle_seconds
    while os.getppid() == parent and time.monotonic() < deadline:
        if select.select([listener], [], [], _PARENT_CHECK_SECONDS)[0]:
            order = _read_order(listener, fingerprint)
            if order:
                return order
    return None


def _read_order(listener: socket.socket, fingerprint: str) -> _Order | None:
    """The order of one client; None when it sends none, complete and in time."""
    try:
        client, _ = listener.accept()
        with client, client.makefile("rwb", buffering=0) as stream:
            client.settimeout(standby.GREETING_TIMEOUT)
            greeting = {"fits": fingerprint, "identity": process_identity(os.getpid())}
            stream.write(json.dumps(greeting).encode() + b"\n")
            line = stream.readline()
            if not line.endswith(b"\n"):
                return None
            set_session_priority(0)
            with contextlib.suppress(OSError):  # the run belongs to this engine now, also when its launcher died
                stream.write(b"begun\n")
            return json.loads(line)
    except OSError:  # boundary: the client died, or is slow
        return None


def _become_engine(order: _Order) -> int:
    """From here on like `python -m app.engine RUN`, with the run's log as its output."""
    log = os.open(Path(order["run"]) / "log.txt", os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o666)
    for output in (sys.stdout, sys.stderr):
        output.flush()
        os.dup2(log, output.fileno())
    os.close(log)
    from app.engine.__main__ import main as run_engine

    return run_engine([order["run"], "--control-from", str(order["control_from"])])


if __name__ == "__main__":
    sys.exit(main())
