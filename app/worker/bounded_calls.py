"""Bounded calls: what a link, an upload or a form makes the page compute, outside of the page's process and within limits."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from app.core.workspace import local_workspace
from app.worker.rpc import RpcService

_SECONDS = 10.0  # that a call may take
_SILENT_SECONDS = 20.0  # until the fork server itself is taken for dead: it says four times a second that a call runs


class BoundedCalls(RpcService):
    """The fork server and the calls to it."""

    def __init__(self) -> None:
        super().__init__("app.worker.fork_server")

    def call(
        self, name: str, *arguments: Any, seconds: float = _SECONDS, is_abandoned: Callable[[], bool] = lambda: False
    ) -> Any:
        """The result of a function of `fork_server.FUNCTIONS`.

        seconds: that it may take. is_abandoned: whether nobody waits any more; asked several times a second. Raises
        Problem, also where it takes too much time or memory, and where nobody waits.
        """
        home = str(local_workspace().path)
        request = {"what": name, "arguments": arguments, "seconds": seconds, "home": home}
        messages = self.ensure_started().stream(request, "Reading this", _SILENT_SECONDS, is_abandoned)
        return next(message["done"] for message in messages if "done" in message)
