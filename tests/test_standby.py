"""The spare: it becomes one run's engine like one started afresh, and no kill at any moment loses a run."""

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
from tests.support import chats, losses, spec_of, start, steps_of, until, wait, write_rows

pytestmark = pytest.mark.slow

# A page's server as far as spares go: keeps one ready, and then does as it is told on its input.
PAGE = """
import sys
from app.core.workspace import local_workspace
from backends import local
local.ensure_standby(local_workspace())
sys.stdin.read()
"""
LAUNCHER = """
import sys
from app.core.workspace import local_workspace
from app.runs import store
from backends import local
run = store.find_run(local_workspace(), sys.argv[1])
local.start(run, run.launch)
"""


@pytest.fixture
def spec(tmp_path: Path) -> Spec:
    """Three steps in which randomness counts."""
    adapter = {"kind": "lora", "r": 4, "alpha": 8, "dropout": 0.1}
    return spec_of(
        "sft", write_rows(tmp_path / "rows.jsonl", chats(24)), {"steps": 3, "batch_size": 4}, adapter=adapter
    )


@pytest.fixture(autouse=True)
def none_left(home: Path) -> Iterator[None]:
    yield
    for process in waiting():
        process.kill()


def waiting() -> list[psutil.Process]:
    """Spares of this test's home, also those that another process started."""
    found = []
    for process in psutil.process_iter(["cmdline"]):
        try:
            ours = process.environ().get("TUNESMITH_HOME") == os.environ["TUNESMITH_HOME"]
            if ours and "app.engine.standby" in (process.info["cmdline"] or []):
                found.append(process)
        except psutil.Error:  # it ended between two looks
            continue
    return found


def spare() -> int:
    """A spare of this process that is ready; its process id."""
    local.ensure_standby(local_workspace())

    def waits() -> bool:
        if not waiting():  # asked while a run's last moments still held the device
            local.ensure_standby(local_workspace())
        return standby.is_standby_ready(local_workspace())

    until(waits, 120)
    return waiting()[0].pid


def done(run: Run) -> bool:
    return isinstance(wait(run)[-1], events.DoneEvent)


def launcher(run: Run, **how: object) -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, "-c", LAUNCHER, run.id], cwd=ROOT, **how)


def autogroup(pid: int) -> str:
    path = Path(f"/proc/{pid}/autogroup")
    return path.read_text().split()[-1] if path.exists() else "0"


def test_a_run_of_the_spare_is_like_one_started_afresh(spec: Spec) -> None:
    afresh = start(spec)
    assert done(afresh)
    pid = spare()
    run = start(spec)
    assert run.handle["pid"] == pid
    assert autogroup(pid) == "0", "an engine is as important as any"
    assert os.getsid(pid) == pid
    assert not standby.is_standby_ready(local_workspace()), "a spare serves one run"
    assert done(run)
    assert losses(run) == losses(afresh)
    said, told = ((one.path / "log.txt").read_text().count("@tunesmith ") for one in (run, afresh))
    assert said == told == len(events.read_events(run.events))
    until(lambda: not waiting(), 10)


def test_a_run_of_the_spare_is_stopped_saved_and_resumed(spec: Spec, tmp_path: Path) -> None:
    long = spec.model_copy(update={"knobs": spec.knobs | {"steps": 12}})
    expected = start(long)
    assert done(expected)
    pid = spare()
    run = start(long)
    assert run.handle["pid"] == pid
    until(lambda: 2 in steps_of(run), run=run)
    os.kill(pid, signal.SIGTERM)
    assert wait(run)[-1].why == "stopped"
    assert spare() != pid
    local.start(run, run.launch)
    assert wait(run)[-1].why == "finished"
    assert losses(run) == pytest.approx(losses(expected), rel=1e-6)


def test_of_two_launchers_one_gets_the_spare_and_both_runs_end_well(spec: Spec) -> None:
    pid = spare()
    both = [store.create_run(local_workspace(), spec, Launch()) for _ in range(2)]
    for process in [launcher(run) for run in both]:
        assert process.wait(timeout=60) == 0
    assert [run.handle["pid"] for run in both].count(pid) == 1
    assert all(done(run) for run in both)


def test_a_running_run_is_refused_also_by_a_spare(spec: Spec, monkeypatch: pytest.MonkeyPatch) -> None:
    pid = spare()
    with monkeypatch.context() as other:
        other.setenv("TUNESMITH_OTHER", "1")
        run = start(spec.model_copy(update={"knobs": spec.knobs | {"steps": 2000}}))
    taken = run.handle["pid"]
    assert taken != pid
    with pytest.raises(Problem, match="did not start"):
        local.start(run, run.launch)
    assert run.handle["pid"] == taken
    assert local.alive(run.handle)
    assert (run.path / "log.txt").read_text().count("is already running") == 2, (
        "by the spare, and by one started afresh"
    )
    local.stop(run.handle, {"asked": 0, "terminated": 0})


def test_a_launcher_that_dies_leaves_the_spare_idle_until_it_has_spoken_and_has_then_started_its_run(
    spec: Spec,
) -> None:
    pid = spare()
    for said in (b"", b'{"run": "/half'):
        with standby.connect(local_workspace()) as (_, line):
            assert line.readline()
            line.write(said)
        assert standby.is_standby_ready(local_workspace())
        assert [process.pid for process in waiting()] == [pid]
    run = store.create_run(local_workspace(), spec, Launch())
    with standby.connect(local_workspace()) as (_, line):
        line.readline()
        line.write(json.dumps({"run": str(run.path), "control_from": 0}).encode() + b"\n")
    until(lambda: run.handle.get("pid") == pid, 20)
    assert done(run)


def test_a_launcher_killed_at_any_moment_leaves_a_started_run_or_an_idle_spare(spec: Spec) -> None:
    chance = random.Random(1)
    pid = spare()
    for _ in range(4):
        run = store.create_run(local_workspace(), spec, Launch())
        process = launcher(run)
        until(lambda process=process: process.poll() is not None or imported(process.pid), 20)
        time.sleep(chance.uniform(0, 0.06))
        process.kill()
        process.wait()
        until(lambda run=run: standby.is_standby_ready(local_workspace()) or run.handle, 20)
        if run.handle:
            assert done(run)
            assert spare() != pid
            pid = waiting()[0].pid
        else:
            assert [process.pid for process in waiting()] == [pid]
            assert events.read_events(run.events) == []


def imported(pid: int) -> bool:
    """Has it read psutil's library, the last that a launcher reads before its deed?"""
    return "_psutil" in Path(f"/proc/{pid}/maps").read_text()


@pytest.mark.parametrize("after", [0.0, 0.01, 0.04], ids=str)
def test_a_spare_killed_while_it_is_claimed_loses_no_run(after: float, spec: Spec) -> None:
    pid = spare()
    killer = threading.Timer(after, os.kill, (pid, signal.SIGKILL))
    killer.start()
    run = start(spec)
    killer.join()
    if run.handle["pid"] == pid:  # it had begun already: the run is lost as any whose engine is killed, and goes on
        wait(run)
        local.start(run, run.launch)
    assert done(run)


def test_a_spare_that_hangs_is_passed_over(spec: Spec) -> None:
    pid = spare()
    os.kill(pid, signal.SIGSTOP)
    run = start(spec)
    assert run.handle["pid"] != pid
    os.kill(pid, signal.SIGCONT)
    assert done(run)
    assert run.handle["pid"] != pid
    assert {event.attempt for event in events.read_events(run.events)} == {1}


def test_a_spare_of_another_environment_is_not_used(spec: Spec, monkeypatch: pytest.MonkeyPatch) -> None:
    pid = spare()
    with monkeypatch.context() as other:
        other.setenv("HF_TOKEN", "hf_notarealtoken")
        assert not standby.is_standby_ready(local_workspace())
        run = start(spec)
        assert run.handle["pid"] != pid
        assert done(run)
    assert standby.is_standby_ready(local_workspace())
    monkeypatch.setenv("HF_TOKEN", "hf_notarealtoken")
    assert spare() != pid, "the page of that environment gets its own"
    assert [process.pid for process in waiting()] != [pid]
    for file in standby.standby_folder(local_workspace()).iterdir():
        assert not file.is_file() or b"hf_nota" not in file.read_bytes()


def test_other_code_or_other_packages_fit_no_spare(tmp_path: Path) -> None:
    shutil.copytree(ROOT / "app", tmp_path / "app", ignore=shutil.ignore_patterns("__pycache__"))
    asked = [sys.executable, "-c", "from app.runs import standby; print(standby.environment_fingerprint())"]

    def word(**environment: str) -> str:
        return subprocess.run(asked, cwd=tmp_path, env=os.environ | environment, capture_output=True, check=True,
                              text=True).stdout  # fmt: skip

    before = word()
    assert word(TERM="other") == before
    assert word(TUNESMITH_OTHER="1") != before
    (tmp_path / "app" / "engine" / "story.py").touch()
    assert word() != before


def test_a_spare_ends_when_the_page_that_wanted_it_is_killed(home: Path) -> None:
    page = subprocess.Popen([sys.executable, "-c", PAGE], cwd=ROOT, stdin=subprocess.PIPE)
    until(standby.is_standby_ready, 120)
    page.kill()
    page.communicate()
    until(lambda: not waiting(), 10)
    assert not (standby.standby_folder(local_workspace()) / "door").exists()


def test_a_run_of_the_spare_outlives_the_page(spec: Spec) -> None:
    page = subprocess.Popen([sys.executable, "-c", PAGE], cwd=ROOT, stdin=subprocess.PIPE)
    until(standby.is_standby_ready, 120)
    run = start(spec)
    page.kill()
    page.communicate()
    assert done(run)


def test_a_spare_that_nobody_claims_ends(home: Path) -> None:
    command = [sys.executable, "-m", "app.engine.standby", str(os.getpid()), "0.1"]
    assert subprocess.run(command, cwd=ROOT, timeout=60, check=False).returncode == 0


def test_one_gentle_spare_is_enough_and_a_killed_one_is_replaced(home: Path) -> None:
    pid = spare()
    if Path("/proc/self/autogroup").exists():
        assert autogroup(pid) == "10", "it is gentle while it waits"
    local.ensure_standby(local_workspace())
    second = subprocess.run(
        [sys.executable, "-m", "app.engine.standby", str(os.getpid())], cwd=ROOT, timeout=20, check=True
    )
    assert second.returncode == 0
    assert [process.pid for process in waiting()] == [pid]
    os.kill(pid, signal.SIGKILL)
    until(lambda: not waiting(), 10)
    assert (standby.standby_folder(local_workspace()) / "door").exists()
    assert not standby.is_standby_ready(local_workspace())
    assert spare() != pid


def test_none_is_started_while_a_run_computes(home: Path) -> None:
    with queue_for_device(local_workspace(), "cpu", "me", lambda ahead: None, lambda: None):
        local.ensure_standby(local_workspace())
        assert waiting() == []
    local.ensure_standby(local_workspace())
    assert len(waiting()) == 1
