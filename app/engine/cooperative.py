"""Cooperative execution of long work in a thread that pauses at yield points, so that other requests run between, and reports progress."""

from __future__ import annotations

import contextlib
import ctypes
import os
import threading
import time
from collections.abc import Callable, Generator
from typing import Any, Generic, TypedDict, TypeVar, final

YIELD_INTERVAL = 0.2  # seconds of work between two pauses: the longest that other requests wait
_CANCEL_SECONDS = 1.0  # in which work that is cancelled may come to its next pause, before it is interrupted
_NICENESS = 5  # priority of the thread: a third of what a run gets, because requests wait for its next pause
_thread_state = threading.local()
_ResultT = TypeVar("_ResultT")


class PassProgress(TypedDict):
    """Progress of one pass over rows, at a yield point. of: all rows of the pass, None if unknown."""

    what: str
    done: int
    of: int | None


class Progress(TypedDict):
    """Progress over all passes, in rows, for the page; None for what is not known yet."""

    what: str
    done: int
    total: int | None
    seconds_left: float | None


@final
class ProgressPart(TypedDict):
    """A part of an answer that takes several passes over the rows."""

    progress: Progress


class CountProgress(TypedDict):
    """How much of `of` is done."""

    done: int
    of: int


@final
class CountPart(TypedDict):
    """A part of an answer that is computed in countable pieces."""

    progress: CountProgress


class TaskCancelled(BaseException):
    """Nobody waits for this work any more. It is no Exception: what reads rows would take it for a fault of a row."""


class _CooperativeTask(Generic[_ResultT]):
    """Work in a thread of its own. It and its caller take turns, so the two never compute at the same time."""

    def __init__(self, work: Callable[[], _ResultT]):
        self.work = work
        self.return_values: list[_ResultT] = []  # one when it has finished
        self.error: BaseException | None = None
        self.resume_signal, self.pause_signal = threading.Semaphore(0), threading.Semaphore(0)
        self.progress: PassProgress = {"what": "", "done": 0, "of": None}
        self.is_finished = self.is_cancelled = self.is_ending = False
        self.next_pause_at = 0.0  # in time.monotonic()
        self.thread = threading.Thread(target=self._run, daemon=True)
        self.thread.start()

    def _run(self) -> None:
        self.resume_signal.acquire()
        _thread_state.task = self
        with contextlib.suppress(OSError):  # a boundary: the kernel may not allow it
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), _NICENESS)
        try:
            self._raise_if_cancelled()
            self.return_values.append(self.work())
        except BaseException as error:  # raised again in the caller's thread
            self.error = error
        finally:
            self.is_finished = True
            self.pause_signal.release()

    def pause(self, progress: PassProgress) -> None:
        """Lets the caller run, if the last pause is long enough ago. Raises TaskCancelled. Called in the task's thread."""
        if time.monotonic() < self.next_pause_at:
            return
        self.progress = progress
        self.pause_signal.release()
        self.resume_signal.acquire()
        self._raise_if_cancelled()
        self.next_pause_at = time.monotonic() + YIELD_INTERVAL

    def _raise_if_cancelled(self) -> None:
        if self.is_cancelled:
            self.is_ending = True
            raise TaskCancelled

    def run_until_pause(self) -> None:
        """Runs the work until its next pause or its end. Called in the caller's thread."""
        self.resume_signal.release()
        self.pause_signal.acquire()

    def cancel(self) -> None:
        """Ends the work at its pause, or wherever it is if it does not pause, such as in a loop of a chat template.
        Called in the caller's thread, which a signal may have interrupted while the work went on."""
        self.is_cancelled = True
        self.resume_signal.release()
        self.thread.join(_CANCEL_SECONDS)
        if self.thread.is_alive() and not self.is_ending and self.thread.ident is not None:
            exception = ctypes.py_object(TaskCancelled)
            ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(self.thread.ident), exception)
        self.thread.join()


def run_cooperatively(work: Callable[[], _ResultT]) -> Generator[PassProgress, None, _ResultT]:
    """Yields the progress at every pause and returns what the work returns. Closing the generator cancels the work."""
    task = _CooperativeTask(work)
    try:
        task.run_until_pause()
        while not task.is_finished:
            yield task.progress
            task.run_until_pause()
    finally:
        if not task.is_finished:
            task.cancel()
    if task.error is not None:
        raise task.error
    [return_value] = task.return_values
    return return_value


def run_with_progress(work: Callable[[], _ResultT]) -> Generator[ProgressPart, None, _ResultT]:
    """`run_cooperatively` with progress over all passes, and yield points in those of `datasets`."""
    _yield_in_dataset_passes()
    estimator = ProgressEstimator()
    passes = run_cooperatively(work)
    try:
        while True:
            yield {"progress": estimator.estimate(next(passes))}
    except StopIteration as end:
        return end.value
    finally:
        passes.close()


def yield_point(what: str, done: int, of: int | None = None) -> None:
    """Pauses if this thread runs cooperatively and its last pause is long enough ago; elsewhere it does nothing."""
    task = getattr(_thread_state, "task", None)
    if task is not None:
        task.pause({"what": what, "done": done, "of": of})


def _yield_in_dataset_passes() -> None:
    """From now on every pass of `datasets` over a table has yield points, where it would move its progress bar."""
    from datasets import arrow_dataset

    if hasattr(arrow_dataset.hf_tqdm, "has_yield_points"):
        return

    class YieldingProgressBar(arrow_dataset.hf_tqdm):
        has_yield_points = True

        def __init__(self, *args: Any, **kwargs: Any):
            super().__init__(*args, **kwargs)
            self.pass_name, self.rows_done = kwargs.get("desc") or "", kwargs.get("initial") or 0
            self.row_total = kwargs.get("total")

        def update(self, count: int = 1) -> None:
            super().update(count)
            self.rows_done += count
            yield_point(self.pass_name, self.rows_done, self.row_total)

    arrow_dataset.hf_tqdm = YieldingProgressBar


# Where each kind of work lies between 0 and 1 of the total time, by the first word of its name in the libraries;
# measured.
_PROGRESS_SPANS = {
    "Reading": (0.0, 0.1),
    "Tokenizing": (0.1, 0.6),
    "Masking": (0.1, 0.6),
    "Building": (0.6, 0.7),
    "Truncating": (0.7, 0.75),
    "Dropping": (0.75, 0.8),
    "Packing": (0.7, 0.8),
    "Saving": (0.8, 0.85),
    "Looking at words": (0.85, 0.97),
    "Looking at tokens": (0.97, 1.0),
}
_STAGE_TITLES = {"Reading": "Reads the examples", "Looking": "Looks at every example"}
_DEFAULT_STAGE_TITLE = "Turns the examples into tokens"
_MIN_SHARE_FOR_ESTIMATE = 0.12  # of the total time; before it no remaining time is estimated


class ProgressEstimator:
    """Total progress and remaining time, from the progress of each pass over the rows."""

    def __init__(self) -> None:
        self.started_at, self.share, self.total_rows = time.monotonic(), 0.0, 0

    def estimate(self, progress: PassProgress) -> Progress:
        """The progress over all passes, from that of one at a yield point."""
        pass_name, done, pass_rows = progress["what"], progress["done"], progress["of"]
        spans = (span for name, span in _PROGRESS_SPANS.items() if pass_name.startswith(name))
        start, end = next(spans, (self.share, self.share))
        if pass_rows:
            self.total_rows = max(self.total_rows, pass_rows)
            self.share = max(self.share, start + (end - start) * min(1.0, done / pass_rows))
        titles = (title for name, title in _STAGE_TITLES.items() if pass_name.startswith(name))
        title = next(titles, _DEFAULT_STAGE_TITLE)
        if not self.total_rows:
            return {"what": title, "done": done, "total": None, "seconds_left": None}
        rows_done = int(self.share * self.total_rows)
        return {"what": title, "done": rows_done, "total": self.total_rows, "seconds_left": self._seconds_left()}

    def _seconds_left(self) -> float | None:
        if self.share <= _MIN_SHARE_FOR_ESTIMATE:
            return None
        elapsed = time.monotonic() - self.started_at
        return round(elapsed * (1 - self.share) / self.share, 1)
