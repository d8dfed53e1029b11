"""Dialogue: one started process and the questions put to it, by any number of threads; each question has a limit."""

from __future__ import annotations

import contextlib
import json
import queue
import subprocess
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import count
from typing import Any

from app.core.problems import SIGNALS, Problem

START = 180.0  # seconds until the process turns to a question while no other keeps it busy: its imports, on a slow disk
GLANCE = 0.2  # seconds between two looks at the clock


@dataclass
class Call:
    """One question. since: when it was last heard of. began: the process turned to it. waits: for a device, which may take hours."""

    id: int
    what: str
    limit: float
    news: queue.SimpleQueue[dict[str, Any]] = field(default_factory=queue.SimpleQueue)
    since: float = field(default_factory=time.monotonic)
    began: bool = False
    waits: bool = False


class Dialogue:
    """A line of JSON out for each question; lines of JSON back: {"id", "began"}, {"id", "part"}, {"id", "result"} or {"id", "problem"}."""

    def __init__(self, command: list[str], **popen: Any):
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, encoding="utf-8",
                                        **popen)  # fmt: skip
        self.calls: dict[int, Call] = {}
        self.lock = threading.Lock()
        self.numbers = count(1)
        self.outbox: queue.SimpleQueue[str | None] = queue.SimpleQueue()
        self.ended: dict[str, str] | None = None  # the problem that all open questions got
        self.threads = [threading.Thread(target=work, daemon=True) for work in (self.read, self.write)]
        for thread in self.threads:
            thread.start()

    @property
    def alive(self) -> bool:
        return self.ended is None and self.process.poll() is None

    def ask(self, what: str, limit: float, request: dict[str, Any]) -> Iterator[dict[str, Any]]:
        """Parts as they come, and last {"done": result}. Raises Problem. limit: seconds without a word that it may take.

        Closing the iterator tells the process that nobody waits for the rest.
        """
        call = Call(next(self.numbers), what, limit)
        with self.lock:
            if self.ended is None:
                self.calls[call.id] = call
            else:
                call.news.put({"problem": self.ended})
        self.outbox.put(json.dumps({"id": call.id, "what": what, **request}))
        try:
            yield from self.heard(call)
        finally:
            with self.lock:
                unanswered = self.calls.pop(call.id, None)
            if unanswered:
                self.outbox.put(json.dumps({"cancel": call.id}))

    def heard(self, call: Call) -> Iterator[dict[str, Any]]:
        while True:
            try:
                message = call.news.get(timeout=GLANCE)
            except queue.Empty:
                self.require_in_time()
                continue
            if "problem" in message:
                raise Problem(**message["problem"])
            if "result" in message:
                yield {"done": message["result"]}
                return
            yield message["part"]

    def require_in_time(self) -> None:
        """Ends the process when it hangs. Whoever waits looks after all questions: the one that hangs may have nobody left."""
        with self.lock:
            calls = list(self.calls.values())
        busy = any(call.began and not call.waits for call in calls)
        for call in calls:
            if call.waits or (busy and not call.began):
                call.since = time.monotonic()  # its clock stands: whoever is before it has a limit
            elif time.monotonic() - call.since > (call.limit if call.began else START):
                self.end(call)

    def end(self, call: Call) -> None:
        with self.lock:
            self.calls.pop(call.id, None)
            self.ended = {
                "text": "Another question took too long, and this one was ended with it.",
                "advice": "Ask again.",
                "reason": "restarted",
            }
        call.news.put({"problem": {"text": f"{call.what.capitalize()}: no answer came within {call.limit:.0f} seconds, so it was stopped.",
                                   "advice": "Try again with fewer or shorter examples.", "reason": "too_slow"}})  # fmt: skip
        self.process.kill()

    def read(self) -> None:
        """Hands each line to the one who asked; when the lines end, tells all others that nothing more will come."""
        for line in self.process.stdout:
            message = json.loads(line)
            with self.lock:
                call = self.calls.get(message.get("id"))
                if call is None:
                    continue
                if "result" in message or "problem" in message:
                    del self.calls[call.id]
            call.since = time.monotonic()
            call.began = True
            call.waits = "waiting" in message.get("part", {})
            if "began" not in message:
                call.news.put(message)
        death = self.death()
        with self.lock:
            self.ended = self.ended or death
            calls, self.calls = self.calls, {}
        for call in calls.values():
            call.news.put({"problem": self.ended})

    def write(self) -> None:
        """A thread of its own: a process that hangs does not read, and a full pipe would stop whoever writes."""
        with contextlib.suppress(BrokenPipeError, ValueError):  # a border: it died, and `read` tells
            for line in iter(self.outbox.get, None):
                self.process.stdin.write(line + "\n")
                self.process.stdin.flush()
        with contextlib.suppress(BrokenPipeError):
            self.process.stdin.close()

    def death(self) -> dict[str, str]:
        code = self.process.wait()
        reason, text, advice = SIGNALS.get(-code, ("crashed", f"The preview's process ended ({code}).", "Try again."))
        return {"reason": reason, "text": text, "advice": advice}

    def close(self) -> None:
        """Ends the process: it stops with its input, or within two seconds otherwise."""
        self.outbox.put(None)
        try:
            self.process.wait(timeout=2)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.outbox.put(None)
        for thread in self.threads:
            thread.join(timeout=2)
        self.process.stdout.close()
