"""Bounded calls: what a link, an upload or a form makes the page compute, outside of the page's process and within limits."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable
from typing import Any

from app.core import paths
from app.core.workspace import local_workspace
from app.worker.rpc import RpcClient

_SECONDS = 10.0  # that a call may take
_SILENT_SECONDS = 20.0  # until the fork server itself is taken for dead: it says twice a second that a call runs


class BoundedCalls:
    """The fork server and the calls to it, from any thread: started by the first call or by `ensure_started`, and again
    when it has died."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._rpc: RpcClient | None = None

    def ensure_started(self) -> RpcClient:
        """Starts the fork server unless it is alive. Returns at once."""
        with self._lock:
            if self._rpc is None or not self._rpc.is_alive:
                if self._rpc:
                    self._rpc.close()
                self._rpc = RpcClient([sys.executable, "-m", "app.worker.fork_server"], paths.ROOT)
            return self._rpc

    def call(
        self, name: str, *arguments: Any, seconds: float = _SECONDS, is_abandoned: Callable[[], bool] = lambda: False
    ) -> Any:
        """The result of a function of `fork_server.FUNCTIONS`.

        seconds: that it may take. is_abandoned: whether nobody waits any more; asked several times a second. Raises
        Problem, also where it takes too much time or memory.
        """
        home = str(local_workspace().path)
        request = {"what": name, "arguments": arguments, "seconds": seconds, "home": home}
        messages = self.ensure_started().stream(request, "Reading this", _SILENT_SECONDS)
        try:
            for message in messages:
                if "done" in message:
                    return message["done"]
                if is_abandoned():
                    return None
        finally:
            messages.close()
        raise AssertionError("a stream ends with its result or a Problem")

    def close(self) -> None:
        """Ends the fork server and all calls, if there is one."""
        with self._lock:
            if self._rpc:
                self._rpc.close()
