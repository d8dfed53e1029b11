"""The standby engine: it runs like a fresh engine process, and killing any process at any time loses no run."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from app.core.paths import ROOT
from app.core.problems import Problem
from app.core.workspace import local_workspace
from app.engine.device_queue import queue_for_device
from app.runs import events, standby, store
from app.runs.store import Run
from app.setup.spec import Launch, Spec
from backends import local
from tests.support import (
    build_spec,
    conversation_rows,
    metrics_by_step,
    run_losses,
    start_run,
    wait_for_run,
    wait_until,
    write_rows,
)

pytestmark = pytest.mark.slow

# Stands in for the page's server: starts a standby engine and then waits until its stdin is closed.
SERVER_SCRIPT = """
import sys
from app.core.workspace import local_workspace
from backends import local
local.ensure_standby(local_workspace())
sys.stdin.read()
"""
LAUNCHER_SCRIPT = """
import sys
from app.core.workspace import local_workspace
from app.runs import store
from backends import local
run = store.find_run(local_workspace(), sys.argv[1])
local.start(run, run.launch)
"""


@pytest.fixture
def spec(tmp_path: Path) -> Spec:
    """Three steps whose losses depend on the random seed (dropout)."""
    adapter = {"kind": "lora", "r": 4, "alpha": 8, "dropout": 0.1}
    return build_spec(
        "sft",
        write_rows(tmp_path / "rows.jsonl", conversation_rows(24)),
        {"steps": 3, "batch_size": 4},
        adapter=adapter,
    )


@pytest.fixture(autouse=True)
def kill_leftover_standby_engines(home: Path) -> Iterator[None]:
    yield
    for process in standby_engines():
        process.kill()


def standby_engines() -> list[psutil.Process]:
    """Standby engines of this test's home folder, including those started by another process."""
    processes = []
    for process in psutil.process_iter(["cmdline"]):
        try:
            same_home = process.environ().get("TUNESMITH_HOME") == os.environ["TUNESMITH_HOME"]
            if same_home and "app.engine.standby" in (process.info["cmdline"] or []):
                processes.append(process)
        except psutil.Error:  # it ended while it was inspected
            continue
    return processes


def start_standby_engine() -> int:
    """Starts a standby engine, waits until it is ready, and returns its process id."""
    local.ensure_standby(local_workspace())

    def is_ready() -> bool:
        if not standby_engines():  # not started yet: an ending run still held the device
            local.ensure_standby(local_workspace())
        return standby.is_standby_ready(local_workspace())

    wait_until(is_ready, 240)  # it starts at the lowest priority
    return standby_engines()[0].pid


def finishes(run: Run) -> bool:
    return isinstance(wait_for_run(run)[-1], events.DoneEvent)


def start_launcher(run: Run, **popen_options: object) -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, "-c", LAUNCHER_SCRIPT, run.id], cwd=ROOT, **popen_options)


def autogroup(pid: int) -> str:
    path = Path(f"/proc/{pid}/autogroup")
    return path.read_text().split()[-1] if path.exists() else "0"


@pytest.mark.full  # two engines; every browser test starts its runs in a standby engine
def test_a_run_in_the_standby_engine_matches_one_in_a_fresh_engine(spec: Spec) -> None:
    fresh_run = start_run(spec)
    assert finishes(fresh_run)
    pid = start_standby_engine()
    run = start_run(spec)
    assert run.handle["pid"] == pid
    assert autogroup(pid) == "0", "a running engine has normal priority"
    assert os.getsid(pid) == pid
    assert not standby.is_standby_ready(local_workspace()), "a standby engine serves one run"
    assert finishes(run)
    assert run_losses(run) == run_losses(fresh_run)
    standby_log_events, fresh_log_events = (
        (logged_run.path / "log.txt").read_text().count("@tunesmith ") for logged_run in (run, fresh_run)
    )
    assert standby_log_events == fresh_log_events == len(events.read_events(run.events))
    wait_until(lambda: not standby_engines(), 10)


@pytest.mark.full
def test_a_run_in_the_standby_engine_is_stopped_saved_and_resumed(spec: Spec, tmp_path: Path) -> None:
    long_spec = spec.model_copy(update={"knobs": spec.knobs | {"steps": 12}})
    uninterrupted_run = start_run(long_spec)
    assert finishes(uninterrupted_run)
    pid = start_standby_engine()
    run = start_run(long_spec)
    assert run.handle["pid"] == pid
    wait_until(lambda: 2 in metrics_by_step(run), run=run)
    os.kill(pid, signal.SIGTERM)
    assert wait_for_run(run)[-1].why == "stopped"
    assert start_standby_engine() != pid
    local.start(run, run.launch)
    assert wait_for_run(run)[-1].why == "finished"
    assert run_losses(run) == pytest.approx(run_losses(uninterrupted_run), rel=1e-6)


@pytest.mark.full
def test_one_of_two_launchers_gets_the_standby_engine_and_both_runs_finish(spec: Spec) -> None:
    pid = start_standby_engine()
    runs = [store.create_run(local_workspace(), spec, Launch()) for _ in range(2)]
    for process in [start_launcher(run) for run in runs]:
        assert process.wait(timeout=60) == 0
    assert [run.handle["pid"] for run in runs].count(pid) == 1
    assert all(finishes(run) for run in runs)


@pytest.mark.full
def test_a_second_start_of_a_running_run_is_refused_by_standby_and_fresh_engine(
    spec: Spec, monkeypatch: pytest.MonkeyPatch
) -> None:
    pid = start_standby_engine()
    with monkeypatch.context() as environment:
        environment.setenv("TUNESMITH_OTHER", "1")
        run = start_run(spec.model_copy(update={"knobs": spec.knobs | {"steps": 2000}}))
    running_pid = run.handle["pid"]
    assert running_pid != pid
    with pytest.raises(Problem, match="did not start"):
        local.start(run, run.launch)
    assert run.handle["pid"] == running_pid
    assert local.alive(run.handle)
    assert (run.path / "log.txt").read_text().count("is already running") == 2, (
        "refused by the standby engine and by a fresh one"
    )
    local.stop(run.handle, {"asked": 0, "terminated": 0})


@pytest.mark.full
def test_a_partial_request_leaves_the_standby_engine_idle_and_a_complete_one_starts_the_run(
    spec: Spec,
) -> None:
    pid = start_standby_engine()
    for partial_request in (b"", b'{"run": "/half'):
        with standby.connect(local_workspace()) as (_, stream):
            assert stream.readline()
            stream.write(partial_request)
        assert standby.is_standby_ready(local_workspace())
        assert [process.pid for process in standby_engines()] == [pid]
    run = store.create_run(local_workspace(), spec, Launch())
    with standby.connect(local_workspace()) as (_, stream):
        stream.readline()
        stream.write(json.dumps({"run": str(run.path), "control_from": 0}).encode() + b"\n")
    wait_until(lambda: run.handle.get("pid") == pid, 20)
    assert finishes(run)


@pytest.mark.full
def test_a_launcher_killed_at_any_moment_leaves_a_started_run_or_an_idle_standby_engine(spec: Spec) -> None:
    rng = random.Random(1)
    pid = start_standby_engine()
    for _ in range(4):
        run = store.create_run(local_workspace(), spec, Launch())
        process = start_launcher(run)
        wait_until(lambda process=process: process.poll() is not None or has_loaded_psutil(process.pid), 20)
        time.sleep(rng.uniform(0, 0.06))
        process.kill()
        process.wait()
        wait_until(lambda run=run: standby.is_standby_ready(local_workspace()) or run.handle, 20)
        if run.handle:
            assert finishes(run)
            assert start_standby_engine() != pid
            pid = standby_engines()[0].pid
        else:
            assert [process.pid for process in standby_engines()] == [pid]
            assert events.read_events(run.events) == []


def has_loaded_psutil(pid: int) -> bool:
    """Whether the process has loaded psutil's library, the last import of a launcher before it starts its run."""
    return "_psutil" in Path(f"/proc/{pid}/maps").read_text()


@pytest.mark.full  # the bench faults kills engines at any moment
@pytest.mark.parametrize("delay", [0.0, 0.01, 0.04], ids=str)
def test_a_standby_engine_killed_while_it_is_claimed_loses_no_run(delay: float, spec: Spec) -> None:
    pid = start_standby_engine()
    killer = threading.Timer(delay, os.kill, (pid, signal.SIGKILL))
    killer.start()
    run = start_run(spec)
    killer.join()
    if run.handle["pid"] == pid:  # the run had started: it ends with its engine and is resumed
        wait_for_run(run)
        local.start(run, run.launch)
    assert finishes(run)


@pytest.mark.full
def test_a_standby_engine_that_hangs_is_not_used(spec: Spec) -> None:
    pid = start_standby_engine()
    os.kill(pid, signal.SIGSTOP)
    run = start_run(spec)
    assert run.handle["pid"] != pid
    os.kill(pid, signal.SIGCONT)
    assert finishes(run)
    assert run.handle["pid"] != pid
    assert {event.attempt for event in events.read_events(run.events)} == {1}


@pytest.mark.full  # four engines; the fingerprint has a test of its own
def test_a_standby_engine_of_another_environment_is_not_used(spec: Spec, monkeypatch: pytest.MonkeyPatch) -> None:
    pid = start_standby_engine()
    with monkeypatch.context() as environment:
        environment.setenv("HF_TOKEN", "hf_notarealtoken")
        assert not standby.is_standby_ready(local_workspace())
        run = start_run(spec)
        assert run.handle["pid"] != pid
        assert finishes(run)
    assert standby.is_standby_ready(local_workspace())
    monkeypatch.setenv("HF_TOKEN", "hf_notarealtoken")
    assert start_standby_engine() != pid, "the other environment gets its own standby engine"
    assert [process.pid for process in standby_engines()] != [pid]
    for file in standby.standby_folder(local_workspace()).iterdir():
        assert not file.is_file() or b"hf_nota" not in file.read_bytes()


def test_the_environment_fingerprint_changes_with_code_and_environment_variables(tmp_path: Path) -> None:
    shutil.copytree(ROOT / "app", tmp_path / "app", ignore=shutil.ignore_patterns("__pycache__"))
    command = [sys.executable, "-c", "from app.runs import standby; print(standby.environment_fingerprint())"]

    def fingerprint(**environment: str) -> str:
        return subprocess.run(command, cwd=tmp_path, env=os.environ | environment, capture_output=True, check=True,
                              text=True).stdout  # fmt: skip

    original_fingerprint = fingerprint()
    assert fingerprint(TERM="other") == original_fingerprint
    assert fingerprint(TUNESMITH_OTHER="1") != original_fingerprint
    (tmp_path / "app" / "engine" / "story.py").touch()
    assert fingerprint() != original_fingerprint


def test_a_standby_engine_ends_when_its_server_is_killed(home: Path) -> None:
    server = subprocess.Popen([sys.executable, "-c", SERVER_SCRIPT], cwd=ROOT, stdin=subprocess.PIPE)
    wait_until(lambda: standby.is_standby_ready(local_workspace()), 120)
    server.kill()
    server.communicate()
    wait_until(lambda: not standby_engines(), 10)
    assert not (standby.standby_folder(local_workspace()) / "door").exists()


@pytest.mark.full
def test_a_run_in_the_standby_engine_outlives_the_server(spec: Spec) -> None:
    server = subprocess.Popen([sys.executable, "-c", SERVER_SCRIPT], cwd=ROOT, stdin=subprocess.PIPE)
    wait_until(lambda: standby.is_standby_ready(local_workspace()), 120)
    run = start_run(spec)
    server.kill()
    server.communicate()
    assert finishes(run)


@pytest.mark.full
def test_an_unclaimed_standby_engine_ends_after_its_timeout(home: Path) -> None:
    command = [sys.executable, "-m", "app.engine.standby", str(os.getpid()), "0.1"]
    assert subprocess.run(command, cwd=ROOT, timeout=60, check=False).returncode == 0


@pytest.mark.full
def test_only_one_low_priority_standby_engine_is_started_and_a_killed_one_is_replaced(home: Path) -> None:
    pid = start_standby_engine()
    if Path("/proc/self/autogroup").exists():
        assert autogroup(pid) == "10", "a waiting standby engine has low priority"
    local.ensure_standby(local_workspace())
    second_engine = subprocess.run(
        [sys.executable, "-m", "app.engine.standby", str(os.getpid())], cwd=ROOT, timeout=20, check=True
    )
    assert second_engine.returncode == 0
    assert [process.pid for process in standby_engines()] == [pid]
    os.kill(pid, signal.SIGKILL)
    wait_until(lambda: not standby_engines(), 10)
    assert (standby.standby_folder(local_workspace()) / "door").exists()
    assert not standby.is_standby_ready(local_workspace())
    assert start_standby_engine() != pid


@pytest.mark.full
def test_no_standby_engine_is_started_while_a_run_holds_the_device(home: Path) -> None:
    with queue_for_device(local_workspace(), "cpu", "me", lambda ahead: None, lambda: None):
        local.ensure_standby(local_workspace())
        assert standby_engines() == []
    local.ensure_standby(local_workspace())
    assert len(standby_engines()) == 1
