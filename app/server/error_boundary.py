"""Error boundary of the page: wrappers that turn an exception in an event handler or a server function into words."""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable, Iterator
from typing import Any, Generic, ParamSpec, TypedDict, TypeVar

import gradio as gr

from app.core.problems import Problem, to_problem
from components import notices

Updates = dict[Any, Any]  # {component: new value or gr.update(…)}
Arguments = ParamSpec("Arguments")
Result = TypeVar("Result")
_logger = logging.getLogger("tunesmith")

# Options of every Gradio event of the page: no public API endpoint, no queue shared with other visitors, and no loading
# overlay over what is on the page.
EVENT_OPTIONS: dict[str, Any] = {"api_visibility": "private", "concurrency_limit": None, "show_progress": "hidden"}


class ProblemFields(TypedDict):
    """A Problem as a script gets it."""

    text: str
    advice: str
    reason: str


class Response(TypedDict, Generic[Result], total=False):
    """What a server function returns to a script: its answer, or else the problem."""

    answer: Result
    problem: ProblemFields


def with_error_notice(event_handler: Callable[Arguments, Updates], notice: gr.HTML) -> Callable[Arguments, Updates]:
    """Wraps an event handler: an exception becomes text in `notice`, success clears `notice`.

    A Problem is shown as it is. Any other exception is also logged with its traceback.
    """

    @functools.wraps(event_handler)
    def wrapper(*inputs: Arguments.args, **options: Arguments.kwargs) -> Updates:
        try:
            return {notice: ""} | event_handler(*inputs, **options)
        except Exception as error:  # outermost boundary of the page
            return {notice: error_notice(error, event_handler)}

    return wrapper


def stream_with_error_notice(
    event_handler: Callable[Arguments, Iterator[Updates]], notice: gr.HTML
) -> Callable[Arguments, Iterator[Updates]]:
    """`with_error_notice` for a handler that yields several updates."""

    @functools.wraps(event_handler)
    def wrapper(*inputs: Arguments.args, **options: Arguments.kwargs) -> Iterator[Updates]:
        try:
            yield {notice: ""}
            yield from event_handler(*inputs, **options)
        except Exception as error:  # outermost boundary of the page
            yield {notice: error_notice(error, event_handler)}

    return wrapper


def as_response(function: Callable[Arguments, Result]) -> Callable[Arguments, Response[Result]]:
    """Wraps a server function of a gr.HTML: a script gets no exceptions, so a problem is returned as a dict.

    A parameter annotated as `gr.Request` gets the request. Gradio finds it only where all annotations can be
    resolved, and those of answers are for type checkers alone, so the wrapper has no others.
    """

    @functools.wraps(function)
    def wrapper(*arguments: Arguments.args, **options: Arguments.kwargs) -> Response[Result]:
        try:
            return {"answer": function(*arguments, **options)}
        except Exception as error:  # outermost boundary of the page
            return {"problem": problem_fields(error, function.__name__)}

    request_hints = {name: hint for name, hint in function.__annotations__.items() if "gr.Request" in str(hint)}
    wrapper.__annotations__ = request_hints
    return wrapper


def problem_fields(error: Exception, function_name: str) -> ProblemFields:
    """The problem of an error. Logs it unless it is a Problem."""
    _log_unless_problem(error, function_name)
    problem = to_problem(error)
    return {"text": problem.text, "advice": problem.advice, "reason": problem.reason}


def error_notice(error: Exception, event_handler: Callable[..., Any]) -> str:
    """HTML of an error. Logs it unless it is a Problem."""
    _log_unless_problem(error, event_handler.__name__)
    return notices.render_problem(to_problem(error))


def _log_unless_problem(error: Exception, function_name: str) -> None:
    if not isinstance(error, Problem):
        _logger.error("The page's %s broke", function_name, exc_info=error)
