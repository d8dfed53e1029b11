"""Preview: asks the warm worker what will be learned, and what a result says. Loads nothing heavy itself."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from app.core import registry
from app.setup.spec import Spec
from app.worker.rpc import Dialogue

Waiting = Callable[[str], None]

# Seconds without a word after which an answer is given up and the process started anew. Long enough for a model or a
# dataset that is fetched first; while a question waits for its turn, the clock stands.
LIMITS = {"look": 300.0, "offered": 300.0, "written": 300.0, "rows": 300.0, "batches": 600.0, "plan": 900.0, "audit": 900.0, "talk": 300.0, "chat": 600.0, "opinion": 300.0, "scores": 600.0, "dry_run": 600.0}  # fmt: skip


class Worker:
    """One warm process, started by the first question or by `warm()`, asked by any thread, started again when it died.

    Streams are generators: closing one stops the work for it.
    """

    def __init__(self, limits: dict[str, float] = LIMITS) -> None:
        self.limits = limits
        self.lock = threading.Lock()
        self.dialogue: Dialogue | None = None

    def __enter__(self) -> Worker:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    @property
    def process(self) -> subprocess.Popen[str] | None:
        return self.dialogue and self.dialogue.process

    def warm(self) -> Dialogue:
        """Starts the process; returns at once."""
        with self.lock:
            if self.dialogue is None or not self.dialogue.alive:
                if self.dialogue:
                    self.dialogue.close()
                self.dialogue = Dialogue(
                    [sys.executable, "-m", "app.engine.worker"],
                    cwd=registry.ROOT,
                    start_new_session=True,  # Ctrl-C in the terminal is for the page; the worker ends with its input
                )
            return self.dialogue

    def close(self) -> None:
        with self.lock:
            if self.dialogue:
                self.dialogue.close()

    def stream(self, what: str, **request: Any) -> Iterator[dict[str, Any]]:
        """Parts as they come, and last {"done": result}. Raises Problem when the worker found one, died or took too long."""
        return self.warm().ask(what, self.limits[what], request)

    def ask(self, what: str, waiting: Waiting | None = None, **request: Any) -> dict[str, Any]:
        """The worker's answer. waiting: is told why it has not begun, while another computes on the device."""
        for part in self.stream(what, **request):
            if "done" in part:
                return part["done"]
            if waiting and "waiting" in part:
                waiting(part["waiting"])
        raise AssertionError("a stream ends with its result or a Problem")

    # -- looks: they take no turn, being light: a second or less, while a run trains for minutes or hours ---------------

    def look(self, about: dict[str, Any]) -> dict[str, Any]:
        """The first rows of a dataset on the Hub, see app/data/source_preview.py."""
        return self.ask("look", about=about)

    def offered(self, name: str, revision: str | None = None, config: str | None = None) -> dict[str, Any]:
        """{"parts", "splits"} of a dataset on the Hub, see app/data/hub_datasets.py."""
        return self.ask("offered", name=name, revision=revision, config=config)

    def written(self, model: dict[str, Any]) -> dict[str, Any]:
        """A short conversation in the chat format of this model, see app/engine/preview/template_preview.py."""
        return self.ask("written", model=model)

    def rows(self, spec: Spec, count: int = 50, numbers: Sequence[int] = ()) -> dict[str, Any]:
        """{"rows": [{"tokens": [{"text", "id", "trained", "special"}], "length", "cut", "segments": [{"start", "end", "why"}]}],
        "of": how many examples there are, "findings": as the audit's}. A row that the trainer leaves out has "left_out", the reason;
        where texts were joined, a token has "begins". numbers: those rows instead of the first, as the audit counts them, each with
        its "number"."""
        return self.ask("rows", spec=spec.to_dict(), rows=count, numbers=[*numbers])

    def batches(self, spec: Spec, count: int = 3) -> dict[str, Any]:
        """{"batches": [{"rows": [{"documents": [{"tokens", "length"}], "padding"}], "tokens", "padding": a share}], "left_out"},
        over the whole data, in training's order."""
        return self.ask("batches", spec=spec.to_dict(), batches=count)

    def audit(self, spec: Spec) -> Iterator[dict[str, Any]]:
        """{"progress": {"what", "done", "total", "seconds_left"}} as it goes, and last {"done": all that was found}, at once where
        it was found before; the shapes stand in app/engine/audit/."""
        return self.stream("audit", spec=spec.to_dict())

    def plan(self, spec: Spec) -> dict[str, Any]:
        """{"rows", "held_out", "tokens": {"all", "trained"}, "steps", "effective_batch", "lengths", "truncated", "empty",
        "left_out", "seconds", "seconds_why"}, by the trainer's own count; see app/engine/preview/run_estimate.py."""
        return self.ask("plan", spec=spec.to_dict())

    # -- work that takes its turn for the device ------------------------------------------------------------------------

    def talk(self, run: str, prompt: str, *, base: bool = True, longest: int = 256, messages: list[dict[str, str]] | None = None,
             temperature: float = 0.0) -> Iterator[dict[str, Any]]:  # fmt: skip
        """{"waiting": sentence}, then {"who": "base" or "tuned", "text": more} as they are written, and last
        {"done": {who: {"text", "tokens", "seconds", "why": finished or longest}}}. Greedy unless there is a temperature."""
        return self.stream("talk", run=run, prompt=prompt, base=base, longest=longest, messages=messages or [], temperature=temperature)  # fmt: skip

    def chat(self, run: str, prompts: list[str], *, base: bool = False, longest: int = 128,
             waiting: Waiting | None = None) -> dict[str, list[str]]:  # fmt: skip
        """{"tuned": answers, "base": answers if asked}, greedy."""
        return self.ask("chat", waiting, run=run, prompts=prompts, base=base, longest=longest)

    def opinion(self, run: str, prompt: str, *, answers: Sequence[str] = (), steps: Sequence[str] = (),
                waiting: Waiting | None = None) -> dict[str, list[float]]:  # fmt: skip
        """{"scores": one for each answer, higher is better} of a run that scores answers, {"steps": for each the chance that it is
        right} of one that judges steps."""
        return self.ask("opinion", waiting, run=run, prompt=prompt, answers=[*answers], steps=[*steps])

    def scores(self, run: str, waiting: Waiting | None = None) -> dict[str, Any]:
        """{"set": "held-out", "count", "base": {name: value}, "tuned": {name: value}, "from": run or now}."""
        return self.ask("scores", waiting, run=run)

    def dry_run(
        self, spec: Spec, prompts: int = 8, attempts: int = 4, waiting: Waiting | None = None
    ) -> dict[str, Any]:
        """{"rows": [{"prompt", "completions": [{"text", "rewards", "total"}], "spread"}], "by_reward", "findings"}."""
        return self.ask("dry_run", waiting, spec=spec.to_dict(), prompts=prompts, attempts=attempts)
