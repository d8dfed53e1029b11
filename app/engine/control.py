"""Control: what the person asked of a running engine, by file or by signal, and that each wish is answered."""

from __future__ import annotations

import json
import signal
from pathlib import Path
from types import FrameType

from app.engine.emitter import Emitter

COMMANDS = ("stop", "save", "evaluate", "sample")


class Stopped(Exception):
    """Asked to stop before there was anything to save."""


class Control:
    """Reads control.jsonl from where this start began, and turns SIGTERM and SIGINT into the wish to stop and save."""

    def __init__(self, path: Path, emitter: Emitter, start: int = 0):
        self.path, self.emitter, self.offset = path, emitter, start
        self.stop = False
        self.training = False  # before training a stop has nothing to save, and ends the process at once

    def listen(self) -> None:
        """Takes over the two polite signals; needs the main thread."""
        signal.signal(signal.SIGTERM, self.on_signal)
        signal.signal(signal.SIGINT, self.on_signal)

    def on_signal(self, number: int, frame: FrameType | None) -> None:
        self.stop = True
        if not self.training:
            raise Stopped

    def poll(self) -> list[str]:
        """New commands, in order, each answered by a note; `stop` also raises the flag. Cheap: one stat a step."""
        commands = []
        for wish in self.unread():
            command, name = wish.get("command"), str(wish.get("id", ""))[:200]
            if name and name in self.emitter.answered:
                continue
            self.emitter.answered.add(name)
            known = command in COMMANDS
            text = ANSWERS[command] if known else f"There is no command “{command}”."
            self.emitter.say("note", level="info" if known else "wrong", text=text, control=name)
            if known:
                commands.append(command)
        self.stop = self.stop or "stop" in commands
        return commands

    def unread(self) -> list[dict]:
        if not self.path.exists() or self.path.stat().st_size <= self.offset:
            return []
        with self.path.open("rb") as file:
            file.seek(self.offset)
            data = file.read()
        whole = data[: data.rfind(b"\n") + 1]  # another process may be in the middle of a line
        self.offset += len(whole)
        return [wish for wish in map(as_wish, whole.splitlines()) if wish]

    def check(self) -> None:
        """Between the phases before training: raises Stopped when a stop was asked for."""
        self.poll()
        if self.stop:
            raise Stopped


ANSWERS = {
    "stop": "Stopping: this step is finished, then everything is saved.",
    "save": "Saving after this step.",
    "evaluate": "Testing after this step.",
    "sample": "Writing sample answers after this step.",
}


def as_wish(line: bytes) -> dict | None:
    try:
        wish = json.loads(line)
    except (ValueError, RecursionError):  # a border: anything may have been appended
        return None
    return wish if isinstance(wish, dict) else None
