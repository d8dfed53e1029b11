"""RPC client of a child process: JSON lines over its stdin and stdout, many calls at once, each with a timeout."""

from __future__ import annotations

import contextlib
import json
import queue
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any

from app.core import paths
from app.core.problems import SIGNAL_CAUSES, Problem

_START_TIMEOUT = 180.0  # seconds until the process starts a call while no other call runs: its imports, on a slow disk
_POLL_INTERVAL = 0.2  # seconds between two checks of the timeouts

# The failure of calls that were open when another call ended the process.
_RESTARTED = {
    "text": "Another question took too long, and this one was ended with it.",
    "advice": "Ask again.",
    "reason": "restarted",
}


@dataclass
class PendingCall:
    """One open call. last_message: time of the latest reply. is_waiting: for a device, which may take hours."""

    id: int
    title: str
    timeout: float
    replies: queue.SimpleQueue[dict[str, Any]] = field(default_factory=queue.SimpleQueue)
    last_message: float = field(default_factory=time.monotonic)
    is_started: bool = False
    is_waiting: bool = False

    @property
    def is_running(self) -> bool:
        """The process computes it now."""
        return self.is_started and not self.is_waiting

    @property
    def is_overdue(self) -> bool:
        """The process has been silent for longer than the timeout."""
        return time.monotonic() - self.last_message > self._max_silence

    @property
    def _max_silence(self) -> float:
        """In seconds; until the process starts the call, the limit is that of its own start."""
        return self.timeout if self.is_started else _START_TIMEOUT

    def timeout_failure(self) -> dict[str, str]:
        """The problem of this call once it is overdue."""
        seconds = f"{self._max_silence:g} seconds"
        if not self.is_started:
            return {
                "text": f"{self.title}: the process that answers did not start within {seconds}.",
                "advice": "Close other programs that keep this machine busy, and try again.",
                "reason": "slow_start",
            }
        return {
            "text": f"{self.title}: no answer came within {seconds}, so it was stopped.",
            "advice": "Try again with fewer or shorter examples.",
            "reason": "too_slow",
        }


class RpcClient:
    """A child process and the calls to it, from any number of threads.

    A request is one line, {"id", "what", …arguments}, or {"cancel": id}. A reply is one line: {"id", "began"},
    {"id", "part"}, and last {"id", "result"} or {"id", "problem"}.
    """

    def __init__(self, command: list[str], folder: Path | None = None):
        """folder: in which the command runs."""
        self.process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            encoding="utf-8",
            cwd=folder,
            start_new_session=True,  # Ctrl-C in the terminal is for the page; the process ends with its input
        )
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self._stdin, self._stdout = self.process.stdin, self.process.stdout
        self._pending_calls: dict[int, PendingCall] = {}
        self._lock = threading.Lock()
        self._call_ids = count(1)
        self._outgoing_lines: queue.SimpleQueue[str | None] = queue.SimpleQueue()  # None ends the writer
        self._failure: dict[str, str] | None = (
            None  # what ended the process, for all calls that were open or come later
        )
        self._threads = [
            threading.Thread(target=self._read_replies, daemon=True),
            threading.Thread(target=self._write_requests, daemon=True),
        ]
        for thread in self._threads:
            thread.start()

    @property
    def is_alive(self) -> bool:
        """Whether new calls can be answered."""
        return self._failure is None and self.process.poll() is None

    def stream(
        self, request: dict[str, Any], title: str, timeout: float, is_abandoned: Callable[[], bool] = lambda: False
    ) -> Generator[dict[str, Any]]:
        """The parts of the answer as they come, and last {"done": result}. Raises Problem.

        request: {"what", …arguments}. title: names the call in messages. timeout: seconds the process may be silent.
        is_abandoned: whether nobody waits any more; asked several times a second. Closing the iterator cancels the call
        in the process, and so does a Problem.
        """
        pending_call = PendingCall(next(self._call_ids), title, timeout)
        with self._lock:
            if self._failure is None:
                self._pending_calls[pending_call.id] = pending_call
            else:
                pending_call.replies.put({"problem": self._failure})
        self._outgoing_lines.put(json.dumps({"id": pending_call.id, **request}))
        try:
            yield from self._receive(pending_call, is_abandoned)
        finally:
            with self._lock:
                is_open = self._pending_calls.pop(pending_call.id, None) is not None
            if is_open:
                self._outgoing_lines.put(json.dumps({"cancel": pending_call.id}))

    def close(self) -> None:
        """Ends the process: it stops when its input closes, and is killed after two seconds."""
        self._outgoing_lines.put(None)
        try:
            self.process.wait(timeout=2)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self._outgoing_lines.put(None)
        for thread in self._threads:
            thread.join(timeout=2)
        self._stdout.close()

    def _receive(self, pending_call: PendingCall, is_abandoned: Callable[[], bool]) -> Iterator[dict[str, Any]]:
        """Yields the parts of one answer, in the caller's thread."""
        while True:
            if is_abandoned():
                raise Problem("The browser that asked has left.", reason="abandoned")
            try:
                message = pending_call.replies.get(timeout=_POLL_INTERVAL)
            except queue.Empty:
                self._check_timeouts()
                continue
            if "problem" in message:
                raise Problem(**message["problem"])
            if "result" in message:
                yield {"done": message["result"]}
                return
            yield message["part"]

    def _check_timeouts(self) -> None:
        """Ends the process when any call is overdue.

        Every caller checks all calls: the caller of the slow one may be gone.
        """
        with self._lock:
            pending_calls = list(self._pending_calls.values())
        is_busy = any(pending_call.is_running for pending_call in pending_calls)
        for pending_call in pending_calls:
            if pending_call.is_waiting or (is_busy and not pending_call.is_started):
                pending_call.last_message = time.monotonic()  # its clock stands: the call before it has a timeout
            elif pending_call.is_overdue:
                self._time_out(pending_call)

    def _time_out(self, pending_call: PendingCall) -> None:
        """Fails this call and all others, and kills the process: a single call cannot be interrupted."""
        with self._lock:
            self._pending_calls.pop(pending_call.id, None)
            self._failure = _RESTARTED
        pending_call.replies.put({"problem": pending_call.timeout_failure()})
        self.process.kill()

    def _read_replies(self) -> None:
        """Thread that hands each line to its call. When the output ends, all open calls fail."""
        for line in self._stdout:
            message = json.loads(line)
            with self._lock:
                pending_call = self._pending_calls.get(message.get("id"))
                if pending_call is None:
                    continue
                if "result" in message or "problem" in message:
                    del self._pending_calls[pending_call.id]
            pending_call.last_message = time.monotonic()
            pending_call.is_started = True
            pending_call.is_waiting = "waiting" in message.get("part", {})
            if "began" not in message:
                pending_call.replies.put(message)
        exit_failure = self._exit_failure()
        with self._lock:
            self._failure = self._failure or exit_failure
            unanswered_calls, self._pending_calls = self._pending_calls, {}
        for pending_call in unanswered_calls.values():
            pending_call.replies.put({"problem": self._failure})

    def _write_requests(self) -> None:
        """Thread that writes.

        Callers must not write: a process that hangs does not read, and a full pipe would block them.
        """
        with contextlib.suppress(BrokenPipeError, ValueError):  # boundary: the process died; `_read_replies` reports it
            for line in iter(self._outgoing_lines.get, None):
                self._stdin.write(line + "\n")
                self._stdin.flush()
        with contextlib.suppress(BrokenPipeError):
            self._stdin.close()

    def _exit_failure(self) -> dict[str, str]:
        """The problem that a process which ended by itself leaves, from its exit code or signal."""
        exit_code = self.process.wait()
        fallback = ("crashed", f"The preview's process ended ({exit_code}).", "Try again.")
        reason, text, advice = SIGNAL_CAUSES.get(-exit_code, fallback)
        return {"reason": reason, "text": text, "advice": advice}


class RpcService:
    """A module that answers calls in a process of its own: started by the first call or by `ensure_started`, used by any
    thread, started again when it died."""

    def __init__(self, module: str) -> None:
        self._module, self._lock = module, threading.Lock()
        self.client: RpcClient | None = None  # of the process; None before it is started

    def ensure_started(self) -> RpcClient:
        """Starts the process unless it is alive. Returns at once, before the process has imported its libraries."""
        with self._lock:
            if self.client is None or not self.client.is_alive:
                if self.client:
                    self.client.close()
                self.client = RpcClient([sys.executable, "-m", self._module], paths.ROOT)
            return self.client

    def close(self) -> None:
        """Ends the process, if there is one."""
        with self._lock:
            if self.client:
                self.client.close()
