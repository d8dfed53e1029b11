"""Pool of reward processes that score several answers at a time.

A process that exceeds its timeout is killed and replaced.
"""

from __future__ import annotations

import json
import os
import queue
import secrets
import select
import subprocess
import sys
import time
import weakref
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from app.core import paths
from app.core.platform import kill_process_group
from app.core.problems import Problem
from app.core.scratch import ScratchFolder
from app.core.workspace import local_workspace
from app.data.fields import Cell
from app.engine.contracts import Completion, load_reward
from app.engine.reward_runtime.error_policy import validate_score
from app.engine.reward_runtime.reward import FailedScore, PerRowReward, Score, final_answer_text
from app.engine.reward_runtime.sandbox import clean_environment
from app.setup.spec import Reward

if TYPE_CHECKING:
    from app.engine.reward_runtime.reward_process import Reply

_START_TIMEOUT = 60.0  # seconds until a new process is ready: its imports, on a busy machine
_MAX_REPLY_BYTES = 1 << 20
_CONCURRENT_CALLS = 8  # processes of a reward that mostly waits for a service


class _RewardProcess:
    """One reward process and its pipe. Not thread-safe."""

    def __init__(self, reward_json: str, timeout: float, calls_out: bool):
        self.timeout, self._is_starting, self._buffer = timeout, True, b""
        # the only folder sandboxed code may write to
        self.scratch = ScratchFolder(local_workspace())
        self.process = subprocess.Popen(
            [sys.executable, "-m", "app.engine.reward_runtime.reward_process", str(self.scratch.path)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            cwd=paths.ROOT,
            env=None if calls_out else clean_environment(self.scratch.path),
            start_new_session=True,
        )
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self._stdin, self._stdout = self.process.stdin, self.process.stdout
        self._send(reward_json)

    def _send(self, line: str) -> None:
        self._stdin.write(line.encode() + b"\n")
        self._stdin.flush()

    def request_score(self, request: dict[str, Any]) -> Reply:
        """The process's reply. Raises TimeoutError when none comes in time, EOFError when the process has ended, and
        ValueError when it wrote anything but one reply to this request: code that runs in it can write to the pipe too."""
        if self._is_starting and "problem" in (first_reply := json.loads(self._read_line(_START_TIMEOUT))):
            return first_reply
        self._is_starting = False
        request_id = secrets.token_hex()
        self._send(json.dumps(request | {"id": request_id}, default=str))
        reply: Reply = json.loads(self._read_line(self.timeout))
        if self._buffer or not isinstance(reply, dict) or reply.get("id") != request_id:
            raise ValueError("no reply to this request")
        return reply

    def _read_line(self, timeout: float) -> bytes:
        deadline = time.monotonic() + timeout  # of the whole line: code that runs in the process may write byte by byte
        while b"\n" not in self._buffer:
            ready, _, _ = select.select([self._stdout], [], [], max(0.0, deadline - time.monotonic()))
            if not ready:
                raise TimeoutError
            if len(self._buffer) > _MAX_REPLY_BYTES:
                raise ValueError("too long for a reply")
            chunk = os.read(self._stdout.fileno(), 65_536)
            if not chunk:
                raise EOFError
            self._buffer += chunk
        line, _, self._buffer = self._buffer.partition(b"\n")
        return line

    def kill(self) -> None:
        """Kills the process and all it started: it leads a session of its own."""
        kill_process_group(self.process.pid)
        self.process.wait()
        self._stdin.close()
        self._stdout.close()
        self.scratch.remove()


class _RewardPool:
    """The processes of one reward, shared by all its users in this process; each is started when first needed, and all
    end when nobody has the pool any more."""

    def __init__(self, reward_json: str, timeout: float, process_count: int, calls_out: bool):
        self.reward_json, self.timeout, self.calls_out = reward_json, timeout, calls_out
        self.idle: queue.LifoQueue[_RewardProcess | None] = queue.LifoQueue()
        self.threads = ThreadPoolExecutor(process_count, "reward-pool")
        for _ in range(process_count):
            self.idle.put(None)
        weakref.finalize(self, _end_processes, self.idle)

    def score_all(self, requests: list[dict[str, Any]]) -> list[Score]:
        """Scores in the order of the requests. Raises Problem when the reward itself does."""
        return list(self.threads.map(self._score, requests))

    def _score(self, request: dict[str, Any]) -> Score:
        process = self.idle.get() or _RewardProcess(self.reward_json, self.timeout, self.calls_out)
        try:
            reply = process.request_score(request)
        except (OSError, EOFError, ValueError) as error:
            # Another process: it hangs, has died, or was made to write nonsense.
            process.kill()
            self.idle.put(None)
            timed_out = isinstance(error, TimeoutError)
            return FailedScore(f"it took longer than {self.timeout:g} seconds" if timed_out else "its process ended")
        self.idle.put(process)
        if "problem" in reply:
            raise Problem(**reply["problem"])
        return FailedScore(reply["failed"]) if "failed" in reply else validate_score(reply["score"])

    def close(self) -> None:
        """Waits for running requests, then kills all processes."""
        self.threads.shutdown()
        _end_processes(self.idle)


def _end_processes(idle: queue.LifoQueue[_RewardProcess | None]) -> None:
    while not idle.empty():
        if process := idle.get():
            process.kill()


@lru_cache(maxsize=16)
def _shared_pool(reward_json: str, timeout: float, process_count: int, calls_out: bool) -> _RewardPool:
    return _RewardPool(reward_json, timeout, process_count, calls_out)


class PooledReward:
    """A reward function whose answers are scored by a RewardPool.

    reward_function: knows the columns to send; not called here.
    """

    def __init__(self, reward: Reward, reward_function: PerRowReward):
        definition = load_reward(reward.name)
        process_count = _CONCURRENT_CALLS if definition.calls_out else max(1, min(4, os.cpu_count() or 1))
        reward_json = reward.model_copy(update={"label": "", "weight": 1.0}).model_dump_json(by_alias=True)
        self.pool = _shared_pool(reward_json, definition.seconds, process_count, definition.calls_out)
        self.reward_function, self.__name__ = reward_function, reward.label
        self.columns, self.trainer_columns = reward_function.columns, reward_function.trainer_columns

    def __call__(self, completions: list[Completion], **columns: list[Cell]) -> list[Score]:
        self.reward_function.__name__ = self.__name__  # for its error when a column is missing
        column_names = (*self.columns, *self.trainer_columns)
        column_values = self.reward_function.column_values(columns)
        rows = zip(*column_values, strict=True) if column_names else [()] * len(completions)
        requests = [
            _request(completion, dict(zip(column_names, row, strict=True)))
            for completion, row in zip(completions, rows, strict=True)
        ]
        return self.pool.score_all(requests)


def _request(completion: Completion, columns: dict[str, Cell]) -> dict[str, Any]:
    return {"completion": final_answer_text(completion), "columns": columns}
