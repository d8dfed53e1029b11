"""Download of a model in the background, in a process of its own: it can be cancelled, and what it has fetched is kept.

`python -m app.hub.download_job NAME [REVISION]` is that process; it writes its progress as lines of JSON.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from typing import Any, Literal, TypedDict

from app.core import paths
from app.core.problems import Problem, to_problem
from app.hub.model_downloads import download_model

_REPORT_SECONDS = 0.25  # between two lines of progress
_ENDED_SILENTLY = "The download ended without saying why."


class DownloadState(TypedDict):
    """How far a download is. done, of: bytes; of is 0 until the Hub has said how much there is. problem: why it failed."""

    state: Literal["running", "finished", "cancelled", "failed"]
    done: int
    of: int
    problem: str


class DownloadJob:
    """The download of one model. Any page can ask how far it is."""

    def __init__(self, name: str, revision: str | None, token: str | None):
        self._state: DownloadState = {"state": "running", "done": 0, "of": 0, "problem": ""}
        self._is_cancelled = False
        command = [sys.executable, "-m", "app.hub.download_job", name, *([revision] if revision else [])]
        environment = os.environ | ({"HF_TOKEN": token} if token else {})
        self._process = subprocess.Popen(
            command, cwd=paths.ROOT, env=environment, stdout=subprocess.PIPE, stdin=subprocess.DEVNULL, text=True
        )
        self._thread = threading.Thread(target=self._follow, daemon=True, name="model-download")
        self._thread.start()

    @property
    def state(self) -> DownloadState:
        """How far it is now."""
        return self._state

    def cancel(self) -> DownloadState:
        """Ends the process, and returns how far it came. Nothing happens where the download has ended."""
        if self._state["state"] == "running":
            self._is_cancelled = True
            self._process.kill()
            self._thread.join()
        return self._state

    def _follow(self) -> None:
        """The work of the thread: reads the progress until the process ends."""
        assert self._process.stdout is not None, "it is a pipe"
        problem = _ENDED_SILENTLY
        with self._process.stdout as lines:
            for line in lines:
                message = json.loads(line)
                problem = message.pop("problem", problem)
                self._state = self._state | message
        if self._process.wait() == 0:
            self._state = self._state | {"state": "finished"}
        elif self._is_cancelled:
            self._state = self._state | {"state": "cancelled"}
        else:
            self._state = self._state | {"state": "failed", "problem": problem}


_JOBS: dict[str, DownloadJob] = {}  # by the model's name, so that pages opened later find them
_LOCK = threading.Lock()


def start_download(name: str, revision: str | None = None, token: str | None = None) -> DownloadState:
    """Starts to download a model, unless it is being downloaded already."""
    with _LOCK:
        job = _JOBS.get(name)
        if job is None or job.state["state"] != "running":
            job = _JOBS[name] = DownloadJob(name, revision, token)
    return job.state


def download_state(name: str) -> DownloadState | None:
    """How far the last download of a model is; None where there was none since this program started."""
    job = _JOBS.get(name)
    return job.state if job else None


def cancel_download(name: str) -> DownloadState | None:
    """Cancels the download of a model; what was fetched stays on the disk for the next one."""
    job = _JOBS.get(name)
    return job.cancel() if job else None


# -- the process --------------------------------------------------------------------------------------------------


def main(arguments: list[str]) -> int:
    """Downloads a model and writes its progress. Returns the exit code."""
    last_report = 0.0

    def report(done: int, of: int) -> None:
        nonlocal last_report
        if done == of or time.monotonic() - last_report >= _REPORT_SECONDS:
            last_report = time.monotonic()
            _write({"done": done, "of": of})

    try:
        download_model(arguments[0], None, arguments[1] if len(arguments) > 1 else None, report)
    except Exception as error:  # outermost boundary of this process
        _write({"problem": str(to_problem(error))})
        return 1 if isinstance(error, Problem) else 3
    return 0


def _write(message: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps(message) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
