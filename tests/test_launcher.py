"""Launcher: the backend named in the launch starts, stops and controls the run; the store alone reports its state."""

from __future__ import annotations

import fcntl
import os
import sys
import threading
from types import ModuleType

import pytest

from app.core import platform, processes
from app.core.problems import Problem
from app.core.workspace import local_workspace
from app.planning import launcher, presets
from app.runs import store
from app.runs.records import read_record
from app.runs.store import Run
from app.setup.spec import Launch
from backends import local


@pytest.fixture
def run(home: object) -> Run:
    return store.create_run(local_workspace(), presets.preset_spec("first_tune"), Launch())


@pytest.fixture
def toy_backend_calls(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, str]]:
    """The calls that a stand-in backend `toy` received, as (function or command, machine or job)."""
    calls: list[tuple[str, str]] = []
    module = ModuleType("backends.toy")
    module.start = lambda run, launch: calls.append(("start", launch.machine)) or {}  # type: ignore[attr-defined]
    module.stop = lambda handle: calls.append(("stop", handle.get("job", ""))) or "asked"  # type: ignore[attr-defined]
    module.control = lambda handle, command: calls.append((command, handle.get("job", ""))) or "1"  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "backends.toy", module)
    monkeypatch.setattr("app.core.registry.names", lambda kind: ["local", "toy"])
    return calls


def test_the_launcher_calls_the_backend_of_the_launch(run: Run, toy_backend_calls: list[tuple[str, str]]) -> None:
    launcher.start_run(run, Launch(machine="toy:big"))
    assert run.launch.machine == "toy:big", "the launcher records the launch before the start"
    assert launcher.send_command(run, "save") == "1"
    assert launcher.stop_run(run) == "asked"
    assert [call for call, _ in toy_backend_calls] == ["start", "save", "stop"]


def test_write_handle_takes_the_backend_from_the_launch(run: Run) -> None:
    store.write_launch(run, Launch(machine="toy:big"))
    store.write_handle(run, processes.process_identity(os.getpid()))
    assert run.handle["backend"] == "toy"
    assert store.is_alive(run), "read from the process table, not from the backend, which does not exist"


def test_write_handle_falls_back_to_the_local_backend_for_a_damaged_launch(run: Run) -> None:
    (run.path / "launch.json").write_text('{"machine": 3}')
    store.write_handle(run, processes.process_identity(os.getpid()))
    assert read_record(run.path / "handle.json")["backend"] == "local"


def test_a_run_whose_process_is_not_known_for_sure_is_asked_to_stop_and_no_process_gets_a_signal(run: Run) -> None:
    """Its engine holds the lock, but the clock was stepped since an earlier version wrote its handle."""
    identity = {"pid": os.getpid(), "started": 0.0, "boot": processes.boot_id()}
    handle = {"backend": "local", "folder": str(run.path), **identity}
    assert local.stop(handle) == "not running"
    with run.engine_lock.open("w") as lock:
        platform.lock_file(lock)
        assert local.alive(handle)
        with pytest.raises(Problem, match="has not stopped yet, and which process trains it is not known"):
            local.stop(handle, {"asked": 0.2, "terminated": 0.1, "killed": 0.1})
        assert '"command": "stop"' in run.control.read_text()
        threading.Timer(0.2, fcntl.flock, (lock, fcntl.LOCK_UN)).start()
        assert local.stop(handle) == "asked"


def test_an_unknown_backend_is_refused_and_nothing_is_recorded(run: Run) -> None:
    with pytest.raises(Problem, match="moon"):
        launcher.start_run(run, Launch(machine="moon:1"))
    assert run.launch == Launch(), "nothing was recorded"


def test_last_heard_is_the_modification_time_of_the_events_file(run: Run) -> None:
    assert store.last_heard(run) is None
    run.events.write_text("{}\n")
    os.utime(run.events, (1.0, 2.0))
    assert store.last_heard(run) == 2.0
