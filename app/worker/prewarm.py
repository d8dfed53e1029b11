"""Prewarm: starts the worker process, a standby engine and the mirrors of remote runs while somebody looks at the page."""

from __future__ import annotations

import logging
import threading
import time

from app.core import registry
from app.core.workspace import local_workspace
from app.remote import mirrors
from app.worker.client import WorkerClient

_WORKER_START_SECONDS = 8.0  # the worker imports its libraries alone first: people preview before they launch a run
_CHECK_INTERVAL = 3.0  # seconds between two checks for a standby engine: a run may have ended, or taken the last one
_log = logging.getLogger("tunesmith")


class Prewarm:
    """Starts with the first visit, once its page is usable, so that opening the page waits for nothing."""

    def __init__(self, worker: WorkerClient):
        self.worker = worker
        self._lock = threading.Lock()
        self._is_started = False

    def start(self) -> None:
        """Returns at once. Later calls only make sure that the worker is alive."""
        self.worker.bounded_calls.ensure_started()
        self.worker.ensure_started()
        with self._lock:
            if not self._is_started:
                self._is_started = True
                threading.Thread(target=self._keep_standby_engine, daemon=True).start()
                threading.Thread(target=self._keep_mirrors, daemon=True).start()

    def _keep_mirrors(self) -> None:
        """Makes sure, for as long as this process lives, that runs on other machines are copied."""
        while True:
            try:
                mirrors.ensure_mirrors(local_workspace())
            except Exception:  # boundary: a full disk must not end it for good
                _log.exception("No mirror could be started")
            time.sleep(_CHECK_INTERVAL)

    def _keep_standby_engine(self) -> None:
        """Makes sure, for as long as this process lives, that a standby engine waits for the next run."""
        time.sleep(_WORKER_START_SECONDS)
        while True:
            try:
                registry.load_module("backends", "local").ensure_standby(local_workspace())
            except Exception:  # boundary: a quick start is a convenience, and a full disk must not end it for good
                _log.exception("No spare could be started")
            time.sleep(_CHECK_INTERVAL)
