"""Channel to another machine: requests and answers over the stdin and stdout of one process, such as an ssh client.

Each message is a line of JSON, which says how many bytes of payload follow it. One request is answered at a time.
"""

from __future__ import annotations

import contextlib
import json
import select
import subprocess
import threading
import time
from typing import IO, Any, NamedTuple

from app.core.problems import Problem

_MAX_HEADER_BYTES = 64_000_000  # of a line: the listing of a run's files, or its new events
_MAX_PAYLOAD_BYTES = 64_000_000
_POLL_SECONDS = 1.0


class Message(NamedTuple):
    """fields: JSON. payload: bytes of a file."""

    fields: dict[str, Any]
    payload: bytes


class ConnectionLost(Exception):
    """The other side does not answer. Its text is what the client program printed, such as ssh."""


def write_message(stream: IO[bytes], fields: dict[str, Any], payload: bytes = b"") -> None:
    """Writes one message. Raises OSError where nobody reads it any more."""
    stream.write(json.dumps({**fields, "payload": len(payload)}).encode() + b"\n" + payload)
    stream.flush()


def read_message(stream: IO[bytes]) -> Message | None:
    """The next message; None at the end of the stream. Raises ValueError and KeyError for anything else."""
    line = stream.readline(_MAX_HEADER_BYTES)
    while line and not line.startswith(b"{"):  # greetings that the login shell of that machine prints
        line = stream.readline(_MAX_HEADER_BYTES)
    if not line:
        return None
    fields = json.loads(line)
    size = fields.pop("payload")
    if not isinstance(size, int) or not 0 <= size <= _MAX_PAYLOAD_BYTES:
        raise ValueError("a message of another size")
    payload = stream.read(size)
    return Message(fields, payload) if len(payload) == size else None


class Channel:
    """The side that asks. Use it in a `with` block: the client program ends with it."""

    def __init__(self, command: list[str]):
        """command: of the client program, whose other end is `python -m app.remote.agent`."""
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True
        )
        self._errors: list[bytes] = []
        self._error_reader = threading.Thread(target=self._collect_errors, daemon=True)
        self._error_reader.start()

    def __enter__(self) -> Channel:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def close(self) -> None:
        """Ends the client program, and with it the agent on the other side."""
        with contextlib.suppress(OSError):  # boundary: it may have ended
            self._pipe(self._process.stdin).close()
        self._process.kill()
        self._process.wait()
        self._error_reader.join()
        for pipe in (self._process.stdout, self._process.stderr):
            self._pipe(pipe).close()

    def request(self, operation: str, payload: bytes = b"", *, seconds: float = 60.0, **fields: Any) -> Message:
        """The answer to a request, within so many seconds. Raises ConnectionLost where none comes, and the Problem that the
        other side answers with."""
        try:
            write_message(self._pipe(self._process.stdin), {"operation": operation, **fields}, payload)
            self._wait_for_output(seconds)
            message = read_message(self._pipe(self._process.stdout))
        except (OSError, ValueError, KeyError) as error:  # boundary: the network, and what that machine prints
            raise ConnectionLost(self.error_text() or str(error)) from error
        if message is None:
            raise ConnectionLost(self.error_text())
        if problem := message.fields.get("problem"):
            raise Problem(
                str(problem["text"]), advice=str(problem["advice"]), reason=str(problem.get("reason", "refused"))
            )
        return message

    def error_text(self) -> str:
        """What the client program has printed to stderr, once it has ended; it may still be printing before."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(timeout=_POLL_SECONDS)
            self._error_reader.join(_POLL_SECONDS)
        return b"".join(self._errors).decode(errors="replace").strip()

    def _wait_for_output(self, seconds: float) -> None:
        """Returns once there is something to read. Raises ConnectionLost after so many seconds without."""
        output, deadline = self._pipe(self._process.stdout), time.monotonic() + seconds
        while not select.select([output], [], [], _POLL_SECONDS)[0]:
            if time.monotonic() > deadline:
                raise ConnectionLost("The machine has stopped answering.")

    def _collect_errors(self) -> None:
        for line in self._pipe(self._process.stderr):
            self._errors = [*self._errors[-20:], line]

    @staticmethod
    def _pipe(pipe: IO[bytes] | None) -> IO[bytes]:
        assert pipe is not None, "all three are pipes"
        return pipe
