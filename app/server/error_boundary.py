"""Error boundary of the page: wrappers that turn an exception in a Gradio event handler into a notice on the page."""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable, Iterator
from typing import Any

import gradio as gr

from app.core.problems import Problem, to_problem
from components import notices

Updates = dict[Any, Any]  # {component: new value or gr.update(…)}
_logger = logging.getLogger("tunesmith")

# Options of every Gradio event of the page: no public API endpoint, no queue shared with other visitors, and no loading
# overlay over what is on the page.
EVENT_OPTIONS: dict[str, Any] = {"api_visibility": "private", "concurrency_limit": None, "show_progress": "hidden"}


def with_error_notice(event_handler: Callable[..., Updates], notice: gr.HTML) -> Callable[..., Updates]:
    """Wraps an event handler: an exception becomes text in `notice`, success clears `notice`.

    A Problem is shown as it is. Any other exception is also logged with its traceback.
    """

    @functools.wraps(event_handler)
    def wrapper(*inputs: Any) -> Updates:
        try:
            return {notice: ""} | event_handler(*inputs)
        except Exception as error:  # outermost boundary of the page
            return {notice: error_notice(error, event_handler)}

    return wrapper


def stream_with_error_notice(
    event_handler: Callable[..., Iterator[Updates]], notice: gr.HTML
) -> Callable[..., Iterator[Updates]]:
    """`with_error_notice` for a handler that yields several updates.

    An error is sent together with the last updates, repeated: of two updates in quick succession a browser may draw
    only the second.
    """

    @functools.wraps(event_handler)
    def wrapper(*inputs: Any) -> Iterator[Updates]:
        updates: Updates = {notice: ""}
        try:
            yield updates
            for updates in event_handler(*inputs):
                yield updates
        except Exception as error:  # outermost boundary of the page
            yield updates | {notice: error_notice(error, event_handler)}

    return wrapper


def error_notice(error: Exception, event_handler: Callable[..., Any]) -> str:
    """HTML of an error. Logs it unless it is a Problem."""
    if not isinstance(error, Problem):
        _logger.error("The page's %s broke", event_handler.__name__, exc_info=error)
    return notices.render_problem(to_problem(error))
