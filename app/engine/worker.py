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

from app.engine.busy import computing
from app.engine.emitter import silence_stdout
from app.engine.libraries import prepare_libraries, warm_up
from app.engine.turn import turn
from app.problems import Problem, explain
from app.processes import GENTLE, set_priority

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
    from app.data import first_rows, hub_rows
    from app.engine.preview import looks, written

    return {"rows": looks.look_at_rows, "batches": looks.look_at_batches, "look": lambda request: first_rows.look(request["about"]),
            "written": written.look, "offered": lambda request: hub_rows.offered(request["name"], request["revision"], request["config"])}  # fmt: skip


def gentle() -> dict[str, tuple[Callable[..., Any], Callable[..., Iterator[dict[str, Any]]]]]:
    """Like streams, but they take no turn: they give way by themselves, to other questions and to a run."""
    from app.engine import auditing
    from app.engine.preview import plan

    return {"plan": (plan.check_setup, plan.parts), "audit": (auditing.known, auditing.audit)}


def streams() -> dict[str, tuple[Callable[..., Any], Callable[..., Iterator[dict[str, Any]]]]]:
    """{what: (what is known without computing, or None; the answer in parts)}."""
    from app.engine import held_out, talk
    from app.engine.judges import opinion
    from app.engine.trying import trial

    return {
        "talk": (talk.check, talk.talk),
        "chat": (talk.check, talk.chat),
        "opinion": (opinion.check, opinion.opinion),
        "scores": (held_out.known, held_out.scores),
        "dry_run": (trial.check, trial.dry_run),
    }


if __name__ == "__main__":
    main()
