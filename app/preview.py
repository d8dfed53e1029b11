"""Preview: asks the warm worker what will be learned, and what a result says. Loads nothing heavy itself."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
import threading
from typing import Any

from app import rooms
from app.problems import SIGNALS, Problem
from app.spec import Spec


class Worker:
    """One warm process, started by the first question or by `warm()`, asked by one thread at a time, started again when it died."""

    def __init__(self) -> None:
        self.lock = threading.RLock()  # a question warms the process it then asks
        self.process: subprocess.Popen[str] | None = None
        self.asked = 0

    def __enter__(self) -> Worker:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def warm(self) -> None:
        """Starts the process; returns at once."""
        with self.lock:
            if self.process is not None and self.process.poll() is None:
                return
            self.close()
            self.process = subprocess.Popen(
                [sys.executable, "-m", "app.engine.worker"],
                cwd=rooms.ROOT,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
                encoding="utf-8",
                start_new_session=True,  # Ctrl-C in the terminal is for the page; the worker ends with its input
            )

    def close(self) -> None:
        if self.process is None:
            return
        with contextlib.suppress(BrokenPipeError):  # a border: it died with a question unread
            self.process.stdin.close()  # its loop ends with its input
        try:
            self.process.wait(timeout=2)
        except subprocess.TimeoutExpired:  # busy with an answer that nobody waits for any more
            self.process.kill()
            self.process.wait()
        self.process.stdout.close()

    def ask(self, what: str, **request: Any) -> dict[str, Any]:
        """The worker's answer. Raises Problem when it found one, or died."""
        with self.lock:
            self.warm()
            self.asked += 1
            answer = self.exchange(json.dumps({"id": self.asked, "what": what, **request}))
        if "problem" in answer:
            raise Problem(
                answer["problem"]["text"], advice=answer["problem"]["advice"], reason=answer["problem"]["reason"]
            )
        return answer["result"]

    def exchange(self, line: str) -> dict[str, Any]:
        try:
            self.process.stdin.write(line + "\n")
            self.process.stdin.flush()
            answers = iter(self.process.stdout.readline, "")
            answer = next((found for found in map(json.loads, answers) if found.get("id") == self.asked), None)
        except BrokenPipeError:  # a border: it died while idle
            answer = None
        return answer or {"problem": self.death()}

    def death(self) -> dict[str, str]:
        code = self.process.wait(timeout=10)
        reason, text, advice = SIGNALS.get(-code, ("crashed", f"The preview's process ended ({code}).", "Try again."))
        return {"reason": reason, "text": text, "advice": advice}

    def rows(self, spec: Spec, count: int = 50) -> dict[str, Any]:
        """{"rows": [{"tokens": [{"text", "id", "trained", "special"}], "length"}], "findings": [{"severity", "text"}]}."""
        return self.ask("rows", spec=spec.to_dict(), rows=count)

    def batches(self, spec: Spec, count: int = 3) -> dict[str, Any]:
        """{"batches": [{"rows": [{"documents": [{"tokens", "length"}], "padding"}]}]}, over the whole data, in training's order."""
        return self.ask("batches", spec=spec.to_dict(), batches=count)

    def plan(self, spec: Spec) -> dict[str, Any]:
        """{"rows", "held_out", "tokens": {"all", "trained"}, "steps"}, by the trainer's own count."""
        return self.ask("plan", spec=spec.to_dict())

    def chat(self, run: str, prompts: list[str], *, base: bool = False, longest: int = 128) -> dict[str, list[str]]:
        """{"tuned": answers, "base": answers if asked}, greedy."""
        return self.ask("chat", run=run, prompts=prompts, base=base, longest=longest)
