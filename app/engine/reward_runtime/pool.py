"""Pool: a reward's rewarders, several answers at a time, each with a limit after which its rewarder is stopped and replaced."""

from __future__ import annotations

import contextlib
import json
import os
import queue
import select
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from typing import Any

from app.core import registry
from app.core.problems import Problem
from app.engine.reward_runtime.reward import Failed, Score, per_row, text_of
from app.setup.spec import Reward

SECONDS = 10.0  # for one answer, where a reward does not say otherwise
START = 60.0  # until a fresh rewarder is ready: its imports, on a busy machine
CALLS = 8  # at a time, of rewards that mostly wait for somebody else


class Rewarder:
    """One process. Not for two threads at once."""

    def __init__(self, setup: str, seconds: float):
        self.seconds, self.fresh, self.rest = seconds, True, b""
        self.scratch = tempfile.TemporaryDirectory(
            prefix="tunesmith-", ignore_cleanup_errors=True
        )  # the one place confined code may write to
        self.process = subprocess.Popen([sys.executable, "-m", "app.engine.reward_runtime.reward_process", self.scratch.name], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                        cwd=registry.ROOT, start_new_session=True)  # fmt: skip
        self.send(setup)

    def send(self, line: str) -> None:
        self.process.stdin.write(line.encode() + b"\n")
        self.process.stdin.flush()

    def ask(self, line: str) -> dict[str, Any]:
        """Its answer. Raises TimeoutError when none comes in time, EOFError when it has ended."""
        if self.fresh and "problem" in (told := json.loads(self.read(START))):
            return told
        self.fresh = False
        self.send(line)
        return json.loads(self.read(self.seconds))

    def read(self, seconds: float) -> bytes:
        while b"\n" not in self.rest:
            ready, _, _ = select.select([self.process.stdout], [], [], seconds)
            if not ready:
                raise TimeoutError
            part = os.read(self.process.stdout.fileno(), 65_536)
            if not part:
                raise EOFError
            self.rest += part
        line, _, self.rest = self.rest.partition(b"\n")
        return line

    def end(self) -> None:
        """With all that it started: it leads a session of its own."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, 9)
        self.process.wait()
        self.process.stdin.close()
        self.process.stdout.close()
        self.scratch.cleanup()


class Crew:
    """The rewarders of one reward, shared by all who score with it in this process; started when first needed."""

    def __init__(self, setup: str, seconds: float, count: int):
        self.setup, self.seconds = setup, seconds
        self.idle: queue.LifoQueue[Rewarder | None] = queue.LifoQueue()
        self.threads = ThreadPoolExecutor(count, "rewarders")
        for _ in range(count):
            self.idle.put(None)

    def scores(self, lines: list[str]) -> list[Score]:
        return list(self.threads.map(self.score, lines))

    def score(self, line: str) -> Score:
        rewarder = self.idle.get() or Rewarder(self.setup, self.seconds)
        try:
            told = rewarder.ask(line)
        except (OSError, EOFError, ValueError) as error:  # a border: it hangs, died, or was made to say nonsense
            rewarder.end()
            self.idle.put(None)
            return Failed(
                f"it took longer than {self.seconds:g} seconds"
                if isinstance(error, TimeoutError)
                else "its process ended"
            )
        self.idle.put(rewarder)
        if "problem" in told:
            raise Problem(**told["problem"])
        return Failed(told["failed"]) if "failed" in told else told["score"]

    def close(self) -> None:
        self.threads.shutdown()
        while not self.idle.empty():
            if rewarder := self.idle.get():
                rewarder.end()


@lru_cache(maxsize=16)
def crew(setup: str, seconds: float, count: int) -> Crew:
    return Crew(setup, seconds, count)


class pooled:
    """A scorer as `inner` is, whose answers are scored by a crew. inner: says what to send; it scores nothing here."""

    def __init__(self, reward: Reward, inner: per_row):
        module = registry.load("rewards", reward.name)
        count = CALLS if getattr(module, "CALLS_OUT", False) else max(1, min(4, os.cpu_count() or 1))
        setup = reward.model_copy(update={"label": "", "weight": 1.0}).model_dump_json(by_alias=True)
        self.crew = crew(setup, getattr(module, "SECONDS", SECONDS), count)
        self.inner, self.columns, self.__name__ = inner, inner.columns, reward.label

    def __call__(self, completions: list[Any], **columns: Any) -> list[Score]:
        self.inner.__name__ = self.__name__  # it names itself where a column is missing
        names, values = (*self.columns, *self.inner.given), self.inner.values(columns)
        rows = zip(*values, strict=True) if names else [()] * len(completions)
        lines = [
            line_of(completion, dict(zip(names, row, strict=True)))
            for completion, row in zip(completions, rows, strict=True)
        ]
        return self.crew.scores(lines)


def line_of(completion: Any, columns: dict[str, Any]) -> str:
    return json.dumps({"completion": text_of(completion), "columns": columns}, default=str)
