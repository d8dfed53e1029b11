"""Stretches: long work of the libraries in a thread that gives way at every breath, so that others come between, and says how far it is."""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

BREATH = 0.2  # seconds of work between two breaths: so long others may have to wait
GENTLE = 5  # its priority: a third of what a run gets, as questions wait for its breath
here = threading.local()


class GivenUp(Exception):
    """Nobody waits for this work any more."""


class Stretch:
    """One work. It and whoever asks for its next piece take turns: never do both compute."""

    def __init__(self, work: Callable[[], Any]):
        self.work, self.value, self.error = work, None, None
        self.go, self.back = threading.Semaphore(0), threading.Semaphore(0)
        self.news: dict[str, Any] = {}
        self.ended = self.unwanted = False
        self.until = 0.0
        threading.Thread(target=self.run, daemon=True).start()

    def run(self) -> None:
        self.go.acquire()
        here.stretch = self
        with contextlib.suppress(OSError):  # a border: where the kernel does not allow it
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), GENTLE)
        try:
            self.require_wanted()
            self.value = self.work()
        except BaseException as error:  # handed to the one who asks
            self.error = error
        self.ended = True
        self.back.release()

    def breathe(self, news: dict[str, Any]) -> None:
        if time.monotonic() < self.until:
            return
        self.news = news
        self.back.release()
        self.go.acquire()
        self.require_wanted()
        self.until = time.monotonic() + BREATH

    def require_wanted(self) -> None:
        if self.unwanted:
            raise GivenUp

    def piece(self) -> None:
        self.go.release()
        self.back.acquire()


def stretches(work: Callable[[], Any]) -> Iterator[dict[str, Any]]:
    """{"what", "done", "of"} at every breath, and last {"value": what the work returns}. Closing it ends the work."""
    stretch = Stretch(work)
    try:
        stretch.piece()
        while not stretch.ended:
            yield stretch.news
            stretch.piece()
    finally:
        if not stretch.ended:
            stretch.unwanted = True
            stretch.piece()
    if stretch.error is not None:
        raise stretch.error
    yield {"value": stretch.value}


def breathe(what: str, done: int, of: int | None = None) -> None:
    """Gives way where this is such a work and it is time to; nothing elsewhere."""
    stretch = getattr(here, "stretch", None)
    if stretch is not None:
        stretch.breathe({"what": what, "done": done, "of": of})


def listen() -> None:
    """From now on every pass of the `datasets` library over a table breathes where it would move a progress bar."""
    from datasets import arrow_dataset

    if hasattr(arrow_dataset.hf_tqdm, "breathes"):
        return

    class Bar(arrow_dataset.hf_tqdm):
        breathes = True

        def __init__(self, *args: Any, **kwargs: Any):
            super().__init__(*args, **kwargs)
            self.what, self.done, self.of = kwargs.get("desc") or "", kwargs.get("initial") or 0, kwargs.get("total")

        def update(self, count: int = 1) -> None:
            super().update(count)
            self.done += count
            breathe(self.what, self.done, self.of)

    arrow_dataset.hf_tqdm = Bar


# Where each kind of work lies between 0 and 1, by the first word of what the libraries call it; as measured.
SPANS = {"Reading": (0.0, 0.1), "Tokenizing": (0.1, 0.6), "Masking": (0.1, 0.6), "Building": (0.6, 0.7), "Truncating": (0.7, 0.75),
         "Dropping": (0.75, 0.8), "Packing": (0.7, 0.8), "Saving": (0.8, 0.85), "Looking at words": (0.85, 0.97), "Looking at tokens": (0.97, 1.0)}  # fmt: skip
WORDS = {"Reading": "Reads the examples", "Looking": "Looks at every example"}


class Clock:
    """How far it is, from what the libraries say of their passes."""

    def __init__(self) -> None:
        self.began, self.share, self.total = time.monotonic(), 0.0, 0

    def told(self, news: dict[str, Any]) -> dict[str, Any]:
        """{"what", "done", "total", "seconds_left"}: rows, of all work together; None where that is not known yet."""
        start, end = next((span for name, span in SPANS.items() if news["what"].startswith(name)), (self.share, self.share))  # fmt: skip
        if news["of"]:
            self.total = max(self.total, news["of"])
            self.share = max(self.share, start + (end - start) * min(1.0, news["done"] / news["of"]))
        took = time.monotonic() - self.began
        left = round(took * (1 - self.share) / self.share, 1) if self.share > 0.12 else None
        what = next((words for name, words in WORDS.items() if news["what"].startswith(name)), "Turns the examples into tokens")  # fmt: skip
        if not self.total:
            return {"what": what, "done": news["done"], "total": None, "seconds_left": None}
        return {"what": what, "done": int(self.share * self.total), "total": self.total, "seconds_left": left}
