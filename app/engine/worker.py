"""Worker: a warm process that answers previews and chat, one JSON line for each on its stdin. It ends with its parent."""

from __future__ import annotations

import contextlib
import json
import os
import queue
import sys
import threading
import traceback
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future
from functools import partial
from typing import Any, TextIO

from app.core.problems import Problem, explain
from app.core.processes import GENTLE, set_priority
from app.engine.active_run import computing
from app.engine.device_queue import turn
from app.engine.emitter import silence_stdout
from app.engine.libraries import prepare_libraries, warm_up

DEVICE = "cpu"  # what the worker computes on, whatever the runs use


class Gone(Exception):
    """Nobody waits for this answer any more."""


def main() -> None:
    """Reads {"id", "what", …} and {"cancel": id} lines; writes {"id", …} lines with began, part, result or problem."""
    answers = os.fdopen(os.dup(1), "w", buffering=1, encoding="utf-8")
    silence_stdout()
    prepare_libraries()
    with gently():
        warm_up()
    desk = Desk(answers)
    threading.Thread(target=desk.listen, args=(sys.stdin,), daemon=True).start()
    desk.work()


@contextlib.contextmanager
def gently() -> Iterator[None]:
    """Loading the libraries takes seconds of both cores, which a run or the page may need more."""
    with contextlib.suppress(OSError):  # a border: where the kernel does not allow it
        set_priority(GENTLE)
    yield
    with contextlib.suppress(OSError):
        set_priority(0)


class Desk:
    """Many questions, one thread that computes: the libraries keep settings that two threads would change under each other.

    A look is one piece of work; a long answer is many, so that looks come between its words.
    """

    def __init__(self, answers: TextIO):
        self.answers = answers
        self.writing = threading.Lock()
        self.tasks: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()
        self.gone: dict[int, threading.Event] = {}

    def work(self) -> None:
        while True:
            self.tasks.get()()

    def listen(self, lines: Iterable[str]) -> None:
        for line in lines:
            self.take(json.loads(line))
        os._exit(0)  # nobody is left to hear, also of what is being computed now

    def take(self, request: dict[str, Any]) -> None:
        if "cancel" in request:
            if event := self.gone.get(request["cancel"]):
                event.set()
            return
        self.gone[request["id"]] = threading.Event()
        if request["what"] in looks():
            self.tasks.put(partial(self.bordered, request, self.look))
        else:
            threading.Thread(target=self.bordered, args=(request, self.attend), daemon=True).start()

    def bordered(self, request: dict[str, Any], answer: Callable[[dict[str, Any]], Any]) -> None:
        """The outermost border of a request: whatever goes wrong is said to the one who asked."""
        try:
            self.say(request, result=answer(request))
        except Gone:
            pass
        except Exception as error:
            problem = explain(error)
            if not isinstance(error, Problem):
                traceback.print_exception(error)
            self.say(request, problem={"text": problem.text, "advice": problem.advice, "reason": problem.reason})
        finally:
            del self.gone[request["id"]]

    def say(self, request: dict[str, Any], **message: Any) -> None:
        line = json.dumps({"id": request["id"]} | message, ensure_ascii=False) + "\n"
        with self.writing:
            self.answers.write(line)

    def look(self, request: dict[str, Any]) -> Any:
        self.check(request)  # nobody may be there any more by the time it is reached
        self.say(request, began=True)
        return looks()[request["what"]](request)

    def attend(self, request: dict[str, Any]) -> Any:
        """In a thread of its own, which mostly waits: for its turn, and for each piece of its answer."""
        known, parts_of = (gentle() | streams())[request["what"]]
        if (found := self.computed(partial(known, request))) is not None:
            return found
        if request["what"] in gentle():
            self.check(request)
            self.say(request, began=True)
            return self.told(request, parts_of(request))
        with turn(
            DEVICE, f"answer-{os.getpid()}-{request['id']}", partial(self.waits, request), partial(self.check, request)
        ):
            self.say(request, began=True)
            return self.told(request, parts_of(request))

    def told(self, request: dict[str, Any], parts: Iterator[dict[str, Any]]) -> Any:
        """Passes the parts on; what the last one calls done is the result."""
        try:
            while "done" not in (part := self.computed(partial(next, parts))):
                self.say(request, part=part)
                self.check(request)
            return part["done"]
        finally:
            self.computed(parts.close)

    def computed(self, task: Callable[[], Any]) -> Any:
        """The task's value, from the one thread that computes."""
        future: Future[Any] = Future()

        def do() -> None:
            try:
                future.set_result(task())
            except BaseException as error:  # handed to the thread that asked
                future.set_exception(error)

        self.tasks.put(do)
        return future.result()

    def check(self, request: dict[str, Any]) -> None:
        if self.gone[request["id"]].is_set():
            raise Gone

    def waits(self, request: dict[str, Any], ahead: int) -> None:
        self.say(request, part={"waiting": f"{busy()} Your turn comes right after it."})


def busy() -> str:
    """Who computes on this machine, in a sentence."""
    run = computing()
    if run is None:
        return "This machine is busy with another answer."
    return f"The run “{run.spec.title or run.id}” is using this machine."


def looks() -> dict[str, Callable[[dict[str, Any]], Any]]:
    from app.data import hub_datasets, source_preview
    from app.engine.preview import row_preview, template_preview

    return {"rows": row_preview.look_at_rows, "batches": row_preview.look_at_batches, "look": lambda request: source_preview.look(request["about"]),
            "written": template_preview.look, "offered": lambda request: hub_datasets.offered(request["name"], request["revision"], request["config"])}  # fmt: skip


def gentle() -> dict[str, tuple[Callable[..., Any], Callable[..., Iterator[dict[str, Any]]]]]:
    """Like streams, but they take no turn: they give way by themselves, to other questions and to a run."""
    from app.engine.audit import runner
    from app.engine.preview import run_estimate

    return {"plan": (run_estimate.check_setup, run_estimate.parts), "audit": (runner.known, runner.audit)}


def streams() -> dict[str, tuple[Callable[..., Any], Callable[..., Iterator[dict[str, Any]]]]]:
    """{what: (what is known without computing, or None; the answer in parts)}."""
    from app.engine.evaluation import baseline_eval, score_query
    from app.engine.generation import chat
    from app.engine.preview import dry_run

    return {
        "talk": (chat.check, chat.talk),
        "chat": (chat.check, chat.chat),
        "opinion": (score_query.check, score_query.opinion),
        "scores": (baseline_eval.known, baseline_eval.scores),
        "dry_run": (dry_run.check, dry_run.dry_run),
    }


if __name__ == "__main__":
    main()
