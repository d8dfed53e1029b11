"""Launcher: the backend that a launch names starts, stops and controls the run, and the store alone says how it is."""

from __future__ import annotations

import os
import sys
from types import ModuleType

import pytest

from app.core import processes
from app.core.problems import Problem
from app.core.workspace import local_workspace
from app.planning import launcher, presets
from app.runs import store
from app.runs.records import read_record
from app.runs.store import Run
from app.setup.spec import Launch


@pytest.fixture
def run(home: object) -> Run:
    return store.create_run(local_workspace(), presets.preset_spec("first_tune"), Launch())


@pytest.fixture
def toy(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, str]]:
    """What a backend called `toy` was asked to do."""
    deeds: list[tuple[str, str]] = []
    module = ModuleType("backends.toy")
    module.start = lambda run, launch: deeds.append(("start", launch.machine)) or {}  # type: ignore[attr-defined]
    module.stop = lambda handle: deeds.append(("stop", handle.get("job", ""))) or "asked"  # type: ignore[attr-defined]
    module.control = lambda handle, command: deeds.append((command, handle.get("job", ""))) or "1"  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "backends.toy", module)
    monkeypatch.setattr("app.core.registry.names", lambda kind: ["local", "toy"])
    return deeds


def test_the_launch_says_which_backend_has_the_run(run: Run, toy: list[tuple[str, str]]) -> None:
    launcher.start_run(run, Launch(machine="toy:big"))
    assert run.launch.machine == "toy:big", "recorded before it starts, by the launcher"
    assert launcher.send_command(run, "save") == "1"
    assert launcher.stop_run(run) == "asked"
    assert [deed for deed, _ in toy] == ["start", "save", "stop"]


def test_an_engine_takes_the_backend_from_the_launch(run: Run) -> None:
    store.write_launch(run, Launch(machine="toy:big"))
    store.write_handle(run, processes.process_identity(os.getpid()))
    assert run.handle["backend"] == "toy"
    assert store.is_alive(run), "asked of the process table, not of the backend, which does not exist"


def test_a_damaged_launch_still_leaves_a_handle(run: Run) -> None:
    (run.path / "launch.json").write_text('{"machine": 3}')
    store.write_handle(run, processes.process_identity(os.getpid()))
    assert read_record(run.path / "handle.json")["backend"] == "local"


def test_an_unknown_backend_is_refused_in_a_sentence(run: Run) -> None:
    with pytest.raises(Problem, match="moon"):
        launcher.start_run(run, Launch(machine="moon:1"))
    assert run.launch == Launch(), "nothing was recorded"


def test_last_heard_is_the_time_of_the_last_event(run: Run) -> None:
    assert store.last_heard(run) is None
    run.events.write_text("{}\n")
    os.utime(run.events, (1.0, 2.0))
    assert store.last_heard(run) == 2.0
