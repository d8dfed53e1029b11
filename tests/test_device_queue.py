"""Turn: engines wait for a device in order, in processes of their own, and the dead hold nobody up."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from app.core.paths import ROOT
from app.core.workspace import local_workspace
from app.engine.device_queue import queue_for_device
from tests.support import until

# Says `waiting N` and `mine`, and holds the device until its input ends; `stop` as its second word gives up the place.
ENGINE = """
import sys, time
from app.core.workspace import local_workspace
from app.engine.device_queue import queue_for_device
name, device = sys.argv[1:3]
def check():
    if len(sys.argv) > 3:
        raise SystemExit(130)
with queue_for_device(local_workspace(), device, name, lambda ahead: print("waiting", ahead, flush=True), check):
    print("mine", flush=True)
    sys.stdin.read()
print("over", flush=True)
"""


class Engine:
    """A real process that takes its turn; what it said lies in a file."""

    def __init__(self, folder: Path, name: str, device: str = "cpu", *more: str):
        self.file = folder / f"{name}.out"
        with self.file.open("w") as out:
            self.process = subprocess.Popen(
                [sys.executable, "-c", ENGINE, name, device, *more], cwd=ROOT, stdin=subprocess.PIPE, stdout=out
            )

    def said(self) -> list[str]:
        return self.file.read_text().splitlines()

    def says(self, line: str) -> None:
        until(lambda: line in self.said(), 20)

    def finish(self) -> None:
        self.process.stdin.close()
        self.process.wait(timeout=20)


@pytest.fixture
def engines(tmp_path: Path) -> Iterator[list[Engine]]:
    started: list[Engine] = []
    yield started
    for engine in started:
        engine.process.kill()
        engine.process.communicate()


def tickets(home: Path, device: str = "cpu") -> list[str]:
    return sorted(name.partition("-")[2] for name in os.listdir(home / "locks" / device) if not name.startswith("."))


def test_the_second_waits_and_starts_when_the_first_is_killed(tmp_path: Path, engines: list[Engine]) -> None:
    engines.append(first := Engine(tmp_path, "first"))
    first.says("mine")
    engines.append(second := Engine(tmp_path, "second"))
    second.says("waiting 1")
    assert "mine" not in second.said()
    first.process.send_signal(signal.SIGKILL)
    second.says("mine")


def test_three_take_their_turns_in_the_order_they_came(tmp_path: Path, home: Path, engines: list[Engine]) -> None:
    engines.append(first := Engine(tmp_path, "first"))
    first.says("mine")
    engines.append(second := Engine(tmp_path, "second"))
    second.says("waiting 1")
    engines.append(third := Engine(tmp_path, "third"))
    third.says("waiting 1")  # one ticket ahead; the one that computes has handed its ticket in
    assert tickets(home) == ["second", "third"]
    first.finish()
    second.says("mine")
    assert "mine" not in third.said()
    second.finish()
    third.says("mine")
    third.finish()
    assert tickets(home) == []


def test_a_dead_waiters_ticket_is_cleared(tmp_path: Path, home: Path, engines: list[Engine]) -> None:
    engines.append(first := Engine(tmp_path, "first"))
    first.says("mine")
    engines.append(second := Engine(tmp_path, "second"))
    second.says("waiting 1")
    engines.append(third := Engine(tmp_path, "third"))
    until(lambda: tickets(home) == ["second", "third"], 20)
    second.process.send_signal(signal.SIGKILL)
    second.process.wait()
    until(lambda: tickets(home) == ["third"], 20)
    first.finish()
    third.says("mine")


def test_one_that_gives_up_leaves_no_ticket(tmp_path: Path, home: Path, engines: list[Engine]) -> None:
    engines.append(first := Engine(tmp_path, "first"))
    first.says("mine")
    engines.append(gone := Engine(tmp_path, "gone", "cpu", "stop"))
    assert gone.process.wait(timeout=20) == 130
    assert tickets(home) == []


def test_devices_do_not_wait_for_one_another(tmp_path: Path, engines: list[Engine]) -> None:
    engines.append(first := Engine(tmp_path, "first", "cuda:0"))
    engines.append(other := Engine(tmp_path, "other", "cuda:1"))
    first.says("mine")
    other.says("mine")


def test_a_free_device_is_taken_without_waiting(home: Path) -> None:
    said: list[int] = []
    with queue_for_device(local_workspace(), "cpu", "me", said.append, lambda: None):
        assert tickets(home) == []
    with queue_for_device(local_workspace(), "cpu", "me", said.append, lambda: None):
        pass
    assert said == []


def test_a_file_left_in_the_queue_by_a_crash_holds_nobody_up(home: Path) -> None:
    queue = home / "locks" / "cpu"
    queue.mkdir(parents=True)
    (queue / f"{1:020d}-dead").touch()
    with queue_for_device(local_workspace(), "cpu", "me", lambda ahead: pytest.fail(f"{ahead} ahead"), lambda: None):
        assert tickets(home) == []
