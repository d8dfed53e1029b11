"""Device queue: engines, each in its own process, wait for a device in order of arrival, and a dead process does not block the queue."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from app.core.paths import ROOT
from app.core.workspace import local_workspace
from app.engine.device_queue import queue_for_device
from tests.support import wait_until

# Prints `waiting N` and `mine`, and holds the device until stdin is closed; a third argument makes it leave the queue.
ENGINE_SCRIPT = """
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


class EngineProcess:
    """A real process that queues for the device and writes its output to a file."""

    def __init__(self, folder: Path, name: str, device: str = "cpu", *extra_args: str):
        self.output_file = folder / f"{name}.out"
        with self.output_file.open("w") as out:
            self.process = subprocess.Popen(
                [sys.executable, "-c", ENGINE_SCRIPT, name, device, *extra_args],
                cwd=ROOT,
                stdin=subprocess.PIPE,
                stdout=out,
            )

    def output_lines(self) -> list[str]:
        return self.output_file.read_text().splitlines()

    def wait_for_line(self, line: str) -> None:
        wait_until(lambda: line in self.output_lines(), 20)

    def finish(self) -> None:
        self.process.stdin.close()
        self.process.wait(timeout=20)


@pytest.fixture
def engines(tmp_path: Path) -> Iterator[list[EngineProcess]]:
    started: list[EngineProcess] = []
    yield started
    for engine in started:
        engine.process.kill()
        engine.process.communicate()


def queued_names(home: Path, device: str = "cpu") -> list[str]:
    """In the order of the queue."""
    tickets = sorted(os.listdir(home / "locks" / device))
    return [name.partition("-")[2] for name in tickets if not name.startswith(".")]


def test_the_second_engine_waits_and_starts_when_the_first_is_killed(
    tmp_path: Path, engines: list[EngineProcess]
) -> None:
    engines.append(first := EngineProcess(tmp_path, "first"))
    first.wait_for_line("mine")
    engines.append(second := EngineProcess(tmp_path, "second"))
    second.wait_for_line("waiting 1")
    assert "mine" not in second.output_lines()
    first.process.send_signal(signal.SIGKILL)
    second.wait_for_line("mine")


def test_three_engines_get_the_device_in_order_of_arrival(
    tmp_path: Path, home: Path, engines: list[EngineProcess]
) -> None:
    engines.append(first := EngineProcess(tmp_path, "first"))
    first.wait_for_line("mine")
    engines.append(second := EngineProcess(tmp_path, "second"))
    second.wait_for_line("waiting 1")
    engines.append(third := EngineProcess(tmp_path, "third"))
    third.wait_for_line("waiting 1")  # one ticket ahead; the engine that holds the device has no ticket any more
    assert queued_names(home) == ["second", "third"]
    first.finish()
    second.wait_for_line("mine")
    assert "mine" not in third.output_lines()
    second.finish()
    third.wait_for_line("mine")
    third.finish()
    assert queued_names(home) == []


def test_the_ticket_of_a_dead_waiter_is_removed(tmp_path: Path, home: Path, engines: list[EngineProcess]) -> None:
    engines.append(first := EngineProcess(tmp_path, "first"))
    first.wait_for_line("mine")
    engines.append(second := EngineProcess(tmp_path, "second"))
    second.wait_for_line("waiting 1")
    engines.append(third := EngineProcess(tmp_path, "third"))
    wait_until(lambda: queued_names(home) == ["second", "third"], 20)
    second.process.send_signal(signal.SIGKILL)
    second.process.wait()
    wait_until(lambda: queued_names(home) == ["third"], 20)
    first.finish()
    third.wait_for_line("mine")


def test_an_engine_that_stops_waiting_leaves_no_ticket(
    tmp_path: Path, home: Path, engines: list[EngineProcess]
) -> None:
    engines.append(first := EngineProcess(tmp_path, "first"))
    first.wait_for_line("mine")
    engines.append(cancelled := EngineProcess(tmp_path, "gone", "cpu", "stop"))
    assert cancelled.process.wait(timeout=20) == 130
    assert queued_names(home) == []


def test_engines_on_different_devices_do_not_wait_for_each_other(tmp_path: Path, engines: list[EngineProcess]) -> None:
    engines.append(first := EngineProcess(tmp_path, "first", "cuda:0"))
    engines.append(second := EngineProcess(tmp_path, "other", "cuda:1"))
    first.wait_for_line("mine")
    second.wait_for_line("mine")


def test_a_step_of_the_clock_does_not_change_the_order(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With threads, as another process has another clock."""

    def wait_until_done(name: str) -> None:
        def leave() -> None:
            if is_done.is_set():
                raise TimeoutError

        with (
            contextlib.suppress(TimeoutError),
            queue_for_device(local_workspace(), "cpu", name, lambda ahead: None, leave),
        ):
            pass

    is_done = threading.Event()
    waiters = [threading.Thread(target=wait_until_done, args=(name,)) for name in ("first", "second")]
    with queue_for_device(local_workspace(), "cpu", "holder", lambda ahead: None, lambda: None):
        waiters[0].start()
        wait_until(lambda: queued_names(home) == ["first"], 20)
        stepped_time = time.time_ns() - 7200 * 10**9
        monkeypatch.setattr(time, "time_ns", lambda: stepped_time)
        waiters[1].start()
        wait_until(lambda: len(queued_names(home)) == 2, 20)
        assert queued_names(home) == ["first", "second"]
        is_done.set()
        for waiter in waiters:
            waiter.join(20)


def test_a_free_device_is_acquired_without_waiting(home: Path) -> None:
    queue_lengths: list[int] = []
    with queue_for_device(local_workspace(), "cpu", "me", queue_lengths.append, lambda: None):
        assert queued_names(home) == []
    with queue_for_device(local_workspace(), "cpu", "me", queue_lengths.append, lambda: None):
        pass
    assert queue_lengths == []


def test_a_ticket_left_by_a_crash_does_not_block_the_queue(home: Path) -> None:
    queue_folder = home / "locks" / "cpu"
    queue_folder.mkdir(parents=True)
    (queue_folder / f"{1:020d}-dead").touch()
    with queue_for_device(local_workspace(), "cpu", "me", lambda ahead: pytest.fail(f"{ahead} ahead"), lambda: None):
        assert queued_names(home) == []
