"""Readiness: what waits warm while somebody looks at the page: the worker that answers, and a spare for the next run."""

from __future__ import annotations

import logging
import threading
import time

from app.core import registry
from app.worker.client import Worker

WORKER_FIRST = 8.0  # seconds in which the worker loads its libraries alone: a look comes before a launch
BETWEEN = 3.0  # seconds between two looks whether a spare is wanted: after a run has ended, or a spare was taken
log = logging.getLogger("tunesmith")


class Readiness:
    """Begins with the first visit, once its page is painted, so that opening the page waits for nothing."""

    def __init__(self, worker: Worker):
        self.worker = worker
        self.lock = threading.Lock()
        self.begun = False

    def begin(self) -> None:
        """Returns at once; later calls only see to the worker."""
        self.worker.warm()
        with self.lock:
            if not self.begun:
                self.begun = True
                threading.Thread(target=self.keep, daemon=True).start()

    def keep(self) -> None:
        time.sleep(WORKER_FIRST)
        while True:
            try:
                registry.load("backends", "local").keep_spare()
            except Exception:  # a border: quickness is a comfort, and a full disk must not end it for good
                log.exception("No spare could be started")
            time.sleep(BETWEEN)
