"""Publishing of a result in the background, with its progress; the run stores where it was published."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from typing import TypedDict

from app.hub import api, model_card
from app.runs.records import read_record, write_record
from app.runs.store import Run

PUBLICATION_FILE = "published.json"
_POLL_INTERVAL = 0.1  # seconds between two updates of the progress


class UploadProgress(TypedDict):
    """How far the upload is. phase: in words. done, of: bytes."""

    phase: str
    done: int
    of: int


class Publication(TypedDict):
    """Where a result was published last. time: Unix time. newer: whether the run has a newer result."""

    repo: str
    address: str
    private: bool
    time: float
    newer: bool


class PublishJob:
    """The publishing of one result, in a thread of its own: it continues when the page is closed, and any page can
    follow it."""

    def __init__(self, run: Run, repo: str, private: bool, token: str | None):
        self.run, self.repo, self.private = run, repo, private
        self.progress: UploadProgress = {"phase": "Asking the Hub", "done": 0, "of": 0}
        self.problem: Exception | None = None
        self.thread = threading.Thread(target=self._publish, args=(token,), daemon=True)

    def _publish(self, token: str | None) -> None:
        """The work of the thread."""
        try:
            url = api.publish_run(
                self.run, self.repo, private=self.private, token=token, progress=self._report_progress
            )
            _save_publication(self.run, self.repo, url, self.private)
        except Exception as error:  # boundary: the outermost call of this thread; `follow` raises it again
            self.problem = error

    def _report_progress(self, phase: str, num_done: int, total: int) -> None:
        """Called while the upload runs. num_done, total: bytes."""
        self.progress = {"phase": phase, "done": num_done, "of": total}

    def follow(self) -> Iterator[UploadProgress]:
        """The progress at each change, until the end. Raises the error of a job that failed."""
        last_progress = None
        while self.thread.is_alive():
            if self.progress is not last_progress:
                last_progress = self.progress
                yield last_progress
            self.thread.join(_POLL_INTERVAL)
        if self.problem:
            raise self.problem


_JOBS: dict[str, PublishJob] = {}  # by run id, so that pages opened later find them


def start_publishing(run: Run, repo: str, private: bool, token: str | None) -> PublishJob:
    """Starts to publish a run; returns the job that is active already, if there is one."""
    running_job = active_job(run)
    if running_job:
        return running_job
    job = _JOBS[run.id] = PublishJob(run, repo.strip(), private, token)
    job.thread.start()
    return job


def active_job(run: Run) -> PublishJob | None:
    """The job that publishes this run now."""
    job = _JOBS.get(run.id)
    return job if job and job.thread.is_alive() else None


def _save_publication(run: Run, repo: str, url: str, private: bool) -> None:
    """Stores in the run's folder where its result was published."""
    write_record(run.path / PUBLICATION_FILE, {"repo": repo, "address": url, "private": private, "time": time.time()})


def last_publication(run: Run) -> Publication | None:
    """Where the result of a run was published last; None where it was not, or where there is no result any more.

    Raises DamagedFile.
    """
    publication = read_record(run.path / PUBLICATION_FILE)
    if not publication or not run.adapter.is_dir():
        return None
    return {
        "repo": publication["repo"],
        "address": publication["address"],
        "private": publication["private"],
        "time": publication["time"],
        "newer": run.adapter.stat().st_mtime > publication["time"],
    }


def usage_snippet(run: Run, repo: str) -> str:
    """Python code that loads and uses the published result, as in its model card."""
    lines = model_card.usage_section(run.spec, run.facts, model_card.CardContext(repo=repo))
    return lines[lines.index("```python") + 1]
