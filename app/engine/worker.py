"""Worker: a warm process that answers previews and chat, one JSON line per request; it ends with its parent."""

from __future__ import annotations

import contextlib
import json
import os
import queue
import signal
import sys
import threading
import traceback
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future
from dataclasses import dataclass, field
from functools import partial
from typing import NamedTuple, TextIO, TypeVar

from app.core.json_types import JsonObject, JsonValue
from app.core.problems import Problem, to_problem
from app.core.processes import LOW_PRIORITY, redirect_stdout_to_stderr, set_session_priority
from app.core.workspace import local_workspace
from app.engine.active_run import computing_run
from app.engine.device_queue import queue_for_device
from app.engine.libraries import prepare_libraries, warm_up
from app.engine.model.device import choose_device
from app.engine.questions import AnyQuestion, read_question

_CANCEL_SIGNAL = signal.SIGUSR1  # the only way to interrupt what computes without giving parts, such as a chat template

_ResultT = TypeVar("_ResultT")


@dataclass
class _Request:
    """An open request: a question by its name, and its arguments. Its id comes from the client and is in every reply."""

    id: int
    name: str
    arguments: JsonObject
    cancelled: threading.Event = field(default_factory=threading.Event)

    def raise_if_cancelled(self) -> None:
        """Raises _Cancelled when nobody waits for the answer any more."""
        if self.cancelled.is_set():
            raise _Cancelled


_Answer = JsonValue | Generator[JsonValue, None, JsonValue]


class _Start(NamedTuple):
    """What a request's first task leaves: an answer that is due at once, else the early answer or None."""

    question: AnyQuestion
    answer: _Answer


class _Cancelled(BaseException):
    """Nobody waits for this answer any more. It is no Exception: what reads rows would take it for a fault of a row."""


def main() -> None:
    """Reads {"id", "what", …} and {"cancel": id} lines; writes {"id", …} lines with began, part, result or problem."""
    answers = os.fdopen(os.dup(1), "w", buffering=1, encoding="utf-8")
    redirect_stdout_to_stderr()
    prepare_libraries()
    loop = RequestLoop(answers)
    signal.signal(_CANCEL_SIGNAL, lambda *_: loop.raise_if_cancelled())
    # The import of the libraries takes seconds of both cores, which a run or the page may need more, unless somebody waits.
    _set_priority(LOW_PRIORITY)
    threading.Thread(target=loop.listen, args=(sys.stdin,), daemon=True).start()
    warm_up()
    _set_priority(0)
    loop.compute_forever()


def _set_priority(nice: int) -> None:
    with contextlib.suppress(OSError):  # boundary: not every kernel allows it
        set_session_priority(nice)


class RequestLoop:
    """Many requests, one thread that computes: the libraries have global settings that two threads would change at
    once.

    A question that is answered at once is one task; an answer in parts is many, so that others are computed between.
    """

    def __init__(self, answers: TextIO):
        self.answers = answers
        self.write_lock = threading.Lock()
        self.tasks: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()
        self.requests: dict[int, _Request] = {}  # the open ones, by id
        self.running_request: _Request | None = None  # whose task runs now, while it may be interrupted
        self.main_thread_id = threading.main_thread().ident or threading.get_ident()

    def compute_forever(self) -> None:
        """Runs the tasks of all requests, one after another. In the main thread, which signals interrupt."""
        while True:
            self.tasks.get()()

    def raise_if_cancelled(self) -> None:
        """Raises _Cancelled in the thread that computes, when nobody waits any more for what it computes now."""
        if self.running_request and self.running_request.cancelled.is_set():
            self.running_request = None  # once: what tidies up after it is not interrupted
            raise _Cancelled

    def listen(self, lines: Iterable[str]) -> None:
        """Accepts requests until the parent ends, and then ends the process."""
        for line in lines:
            _set_priority(0)  # somebody waits; where that is set already it does nothing
            message = json.loads(line)
            if "cancel" not in message:
                self._accept(_Request(message.pop("id"), message.pop("what"), message))
            elif request := self.requests.get(message["cancel"]):
                request.cancelled.set()
                if self.running_request is request:
                    signal.pthread_kill(self.main_thread_id, _CANCEL_SIGNAL)
        os._exit(0)  # nobody reads answers any more, also not to what is being computed now

    def _accept(self, request: _Request) -> None:
        """Queues the request's first task here, so that requests are computed in the order in which they came."""
        self.requests[request.id] = request
        start = self._enqueue(partial(self._start, request), request)
        threading.Thread(target=self._answer, args=(request, start), daemon=True).start()

    def _answer(self, request: _Request, start: Future[_Start]) -> None:
        """Sends the result or the problem, from a thread that mostly waits. The outermost error boundary of a request."""
        try:
            self._send(request, result=self._finish(request, start.result()))
        except _Cancelled:
            pass
        except Exception as error:
            problem = to_problem(error)
            if not isinstance(error, Problem):
                traceback.print_exception(error)
            self._send(request, problem={"text": problem.text, "advice": problem.advice, "reason": problem.reason})
        finally:
            del self.requests[request.id]

    def _start(self, request: _Request) -> _Start:
        """The first task of a request. It computes the answer where that is due at once, else the early answer."""
        question = read_question(request.name, request.arguments)
        is_due = question.schedule == "at_once"
        return _Start(question, self._begin_answer(request, question) if is_due else question.early_answer())

    def _finish(self, request: _Request, start: _Start) -> JsonValue:
        """The complete answer, once its turn has come; parts of it are sent as they come."""
        question, answer = start
        if question.schedule == "at_once" or answer is not None:
            return self._send_parts(request, answer)
        begin_answer = partial(self._begin_answer, request, question)
        if question.schedule == "cooperative":
            return self._send_parts(request, self._compute(begin_answer, request))
        name, on_waiting = f"answer-{os.getpid()}-{request.id}", partial(self._send_waiting, request)
        with queue_for_device(local_workspace(), choose_device("local"), name, on_waiting, request.raise_if_cancelled):
            return self._send_parts(request, self._compute(begin_answer, request))

    def _begin_answer(self, request: _Request, question: AnyQuestion) -> _Answer:
        """A task: the answer, or the generator of its parts."""
        self._send(request, began=True)
        return question.answer()

    def _send_parts(self, request: _Request, answer: _Answer) -> JsonValue:
        """The complete answer. Where that is a generator, sends what it yields and returns what it returns."""
        if not isinstance(answer, Generator):
            return answer

        def next_part() -> tuple[bool, JsonValue]:
            try:
                return False, next(answer)
            except StopIteration as end:
                return True, end.value

        try:
            while True:
                is_complete, part = self._compute(next_part, request)
                if is_complete:
                    return part
                self._send(request, part=part)
                request.raise_if_cancelled()
        finally:
            self._compute(answer.close)

    def _send(self, request: _Request, **message: JsonValue) -> None:
        line = json.dumps({"id": request.id} | message, ensure_ascii=False) + "\n"
        with self.write_lock:
            self.answers.write(line)

    def _send_waiting(self, request: _Request, _ahead: int) -> None:
        self._send(request, part={"waiting": f"{_busy_text()} Your turn comes right after it."})

    def _compute(self, task: Callable[[], _ResultT], request: _Request | None = None) -> _ResultT:
        """The task's return value, from the one thread that computes. request: whose cancelling interrupts it."""
        return self._enqueue(task, request).result()

    def _enqueue(self, task: Callable[[], _ResultT], request: _Request | None = None) -> Future[_ResultT]:
        """The task's return value or exception, once the thread that computes came to it."""
        future: Future[_ResultT] = Future()

        def run_task() -> None:
            try:
                self.running_request = request
                try:
                    if request:
                        request.raise_if_cancelled()  # it may have been cancelled while its task waited
                    result = task()
                finally:
                    self.running_request = None  # from here on nothing interrupts it
            except BaseException as error:  # raised again in the thread that waits for it
                future.set_exception(error)
            else:
                future.set_result(result)

        self.tasks.put(run_task)
        return future


def _busy_text() -> str:
    """What computes on this machine, in a sentence."""
    run = computing_run()
    if run is None:
        return "This machine is busy with another answer."
    return f"The run “{run.spec.title or run.id}” is using this machine."


if __name__ == "__main__":
    main()
