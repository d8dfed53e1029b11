"""Fork server: answers each call in a child process of its own, with limits on time, memory and output.

Run as `python -m app.worker.fork_server`. It reads {"id", "what", "arguments", "seconds", "home"} and {"cancel": id} lines, and
writes {"id", "part": {}} while a call runs and {"id", "result"} or {"id", "problem"} at its end, as `RpcClient` expects
it. It has read nothing of strangers itself, so that each child starts clean; it ends with its parent.
"""

from __future__ import annotations

import json
import math
import os
import selectors
import signal
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NoReturn

from app.core import registry
from app.core.json_types import JsonObject, JsonValue
from app.core.platform import kill_process_group, limit_cpu_time, memory_limit
from app.core.problems import Problem, to_problem
from app.core.processes import redirect_stdout_to_stderr
from app.core.workspace import Workspace
from app.data.findings import source_preview
from app.data.reading import uploads
from app.planning import links
from app.planning.setup_changes import describe_setup_changes

MAX_OUTPUT_BYTES = 10 << 20
_MAX_MEMORY = 1 << 30  # bytes, beside what the server itself takes
_HEARTBEAT = 0.25  # seconds between two messages of a running call; then its client notices that nobody waits


def _store_upload(workspace: str, path: str, owner: str) -> JsonValue:
    return uploads.store_upload(Workspace(Path(workspace)), Path(path), owner)  # type: ignore[return-value]


def _open_setup_link(code: str) -> JsonValue:
    preset, spec = links.open_link(code)
    changes = describe_setup_changes(spec, preset)
    return {"preset": preset, "setup": links.preset_changes(spec, preset), "changes": changes}  # type: ignore[dict-item]


FUNCTIONS: dict[str, Callable[..., Any]] = {
    "preview_source": source_preview.preview_source,
    "store_upload": _store_upload,
    "open_setup_link": _open_setup_link,
}


@dataclass
class _RunningCall:
    """A call in its child. pipe: what it writes. deadline: in seconds of time.monotonic."""

    id: int
    pid: int
    pipe: int
    seconds: float
    deadline: float
    output: bytearray = field(default_factory=bytearray)


def main() -> None:
    answers = os.dup(1)
    redirect_stdout_to_stderr()
    for kind in ("methods", "rewards", "layouts", "readers"):  # so that no child has to
        for name in registry.names(kind):
            registry.load_module(kind, name)
    _Server(answers).serve()


class _Server:
    """One thread: children may be forked at any time."""

    def __init__(self, answers: int):
        self.answers = answers
        self.calls: dict[int, _RunningCall] = {}  # by pipe
        self.selector = selectors.DefaultSelector()
        self.selector.register(0, selectors.EVENT_READ)
        self.requests = b""

    def serve(self) -> None:
        """Until the parent ends."""
        next_heartbeat = time.monotonic()
        while True:
            for key, _ in self.selector.select(_HEARTBEAT if self.calls else None):
                if key.fd == 0:
                    self._read_requests()
                else:
                    self._read_output(self.calls[key.fd])
            now = time.monotonic()
            for call in [call for call in self.calls.values() if now > call.deadline]:
                self._end(call, _too_slow(call.seconds))
            if now > next_heartbeat:
                next_heartbeat = now + _HEARTBEAT
                for call in self.calls.values():
                    self._send(call.id, part={})

    def _read_requests(self) -> None:
        chunk = os.read(0, 1 << 16)
        if not chunk:
            for call in self.calls.values():
                kill_process_group(call.pid)
            os._exit(0)
        *lines, self.requests = (self.requests + chunk).split(b"\n")
        for line in lines:
            request = json.loads(line)
            if "cancel" not in request:
                self._start(request)
            for call in [call for call in self.calls.values() if call.id == request.get("cancel")]:
                self._end(call, None)

    def _start(self, request: dict[str, Any]) -> None:
        pipe, child_end = os.pipe()
        seconds = float(request["seconds"])
        pid = os.fork()
        if not pid:
            os.close(pipe)
            _answer(request, child_end)
        os.close(child_end)
        self.calls[pipe] = _RunningCall(request["id"], pid, pipe, seconds, time.monotonic() + seconds)
        self.selector.register(pipe, selectors.EVENT_READ)
        self._send(request["id"], began=True)

    def _read_output(self, call: _RunningCall) -> None:
        chunk = os.read(call.pipe, 1 << 16)
        call.output += chunk
        if len(call.output) > MAX_OUTPUT_BYTES:
            self._end(call, _too_large())
        elif not chunk:
            self._end(call, _ended_early())

    def _end(self, call: _RunningCall, problem: JsonObject | None) -> None:
        """Ends the child, and sends what it wrote, or else the problem; None: nobody waits."""
        self.selector.unregister(call.pipe)
        os.close(call.pipe)
        del self.calls[call.pipe]
        kill_process_group(call.pid)
        _, wait_status = os.waitpid(call.pid, 0)
        if os.WIFSIGNALED(wait_status) and os.WTERMSIG(wait_status) == signal.SIGXCPU:
            problem = _too_slow(call.seconds)
        if call.output.endswith(b"\n") and len(call.output) <= MAX_OUTPUT_BYTES:
            os.write(self.answers, b'{"id": %d, ' % call.id + call.output[1:])
        elif problem:
            self._send(call.id, problem=problem)

    def _send(self, call_id: int, **message: JsonValue) -> None:
        os.write(self.answers, json.dumps({"id": call_id} | message).encode() + b"\n")


# -- in the child -------------------------------------------------------------------------------------------------------


def _answer(request: dict[str, Any], output: int) -> NoReturn:
    """Computes one call and ends the process."""
    os.setsid()
    for signal_number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(signal_number, signal.SIG_DFL)
    os.environ["TUNESMITH_HOME"] = request["home"]
    limit_cpu_time(math.ceil(request["seconds"]))
    try:
        with memory_limit(_MAX_MEMORY):
            message = {"result": FUNCTIONS[request["what"]](*request["arguments"])}
            line = json.dumps(message).encode()
    except MemoryError:
        line = json.dumps({"problem": _too_much_memory()}).encode()
    except Exception as error:  # the outermost error boundary of a call
        if not isinstance(error, Problem):
            traceback.print_exception(error)
        line = json.dumps({"problem": _fields(to_problem(error))}).encode()
    with os.fdopen(output, "wb") as file:
        file.write(line[:MAX_OUTPUT_BYTES] + b"\n")  # without the line break it was ended before it had written all
    os._exit(0)


# -- problems -----------------------------------------------------------------------------------------------------------

_ADVICE = "Bring a smaller or simpler one."


def _too_slow(seconds: float) -> JsonObject:
    return _fields(
        Problem(f"It takes more than {seconds:.0f} seconds to read this.", advice=_ADVICE, reason="too_slow")
    )


def _ended_early() -> JsonObject:
    return _fields(Problem("The process that read this has ended early.", advice="Try again.", reason="crashed"))


def _too_large() -> JsonObject:
    return _fields(Problem("What is read from this is too much to show.", advice=_ADVICE, reason="too_large"))


def _too_much_memory() -> JsonObject:
    return _fields(Problem("It takes more than 1 GB of memory to read this.", advice=_ADVICE, reason="out_of_memory"))


def _fields(problem: Problem) -> JsonObject:
    return {"text": problem.text, "advice": problem.advice, "reason": problem.reason}


if __name__ == "__main__":
    main()
