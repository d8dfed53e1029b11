"""Run control: what a person requests of a running engine, by file or by signal; each request is answered."""

from __future__ import annotations

import json
import signal
from pathlib import Path
from types import FrameType
from typing import Any

from app.engine.emitter import Emitter
from app.runs.events import NoteEvent

_ANSWERS = {
    "stop": "Stopping: this step is finished, then everything is saved.",
    "save": "Saving after this step.",
    "evaluate": "Testing after this step.",
    "sample": "Writing sample answers after this step.",
}
_COMMANDS = tuple(_ANSWERS)  # a tuple, as a request's command may be any JSON, also what cannot be hashed


class Stopped(Exception):
    """A stop was requested before there was anything to save."""


class Control:
    """Reads control.jsonl from where this start began, and turns SIGTERM and SIGINT into the request to stop and
    save."""

    def __init__(self, path: Path, emitter: Emitter, start: int = 0):
        """start: bytes of the file that belong to earlier starts of the run."""
        self.path, self.emitter, self.offset = path, emitter, start
        self.stop_requested = False
        self.is_training = False  # before training a stop has nothing to save, and ends the process at once

    def listen(self) -> None:
        """Installs the handler of SIGTERM and SIGINT; must be called in the main thread."""
        signal.signal(signal.SIGTERM, self._on_signal)
        signal.signal(signal.SIGINT, self._on_signal)

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        self.stop_requested = True
        if not self.is_training:
            raise Stopped

    def poll_commands(self) -> list[str]:
        """New commands, in order, each answered by a note; `stop` also sets `stop_requested`. Cheap: one stat a
        step."""
        commands = []
        for request in self._read_new_requests():
            command: Any = request.get("command")
            request_id = str(request.get("id", ""))[:200]
            if request_id and request_id in self.emitter.answered_requests:
                continue
            self.emitter.answered_requests.add(request_id)
            is_known = command in _COMMANDS
            text = _ANSWERS[command] if is_known else f"There is no command “{command}”."
            self.emitter.emit(NoteEvent, level="info" if is_known else "wrong", text=text, control=request_id)
            if is_known:
                commands.append(command)
        self.stop_requested = self.stop_requested or "stop" in commands
        return commands

    def _read_new_requests(self) -> list[dict[str, Any]]:
        if not self.path.exists() or self.path.stat().st_size <= self.offset:
            return []
        with self.path.open("rb") as file:
            file.seek(self.offset)
            content = file.read()
        complete_lines = content[: content.rfind(b"\n") + 1]  # another process may be in the middle of a line
        self.offset += len(complete_lines)
        return [request for request in map(_parse_request, complete_lines.splitlines()) if request]

    def raise_if_stopped(self) -> None:
        """Between the phases before training: raises Stopped when a stop was requested."""
        self.poll_commands()
        if self.stop_requested:
            raise Stopped


def _parse_request(line: bytes) -> dict[str, Any] | None:
    """The request in a line of the file; None where there is none."""
    try:
        request = json.loads(line)
    except (ValueError, RecursionError):  # boundary: any program may have appended to the file
        return None
    return request if isinstance(request, dict) else None
