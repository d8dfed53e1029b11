"""Border: how the page's events reach plain functions, and how what goes wrong reaches the person."""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable, Iterator
from typing import Any

import gradio as gr

from app.core.problems import Problem, explain
from components import notices

Updates = dict[Any, Any]  # {component: its new value or gr.update}
log = logging.getLogger("tunesmith")

# Every event of the page: no public endpoint, no other visitor's turn to wait for, no veil over what is shown.
QUIET = {"api_visibility": "private", "concurrency_limit": None, "show_progress": "hidden"}


def safely(deed: Callable[..., Updates], notice: gr.HTML) -> Callable[..., Updates]:
    """The deed; a Problem is said in `notice`, anything else there too and in the log. Success clears it."""

    @functools.wraps(deed)
    def handler(*values: Any) -> Updates:
        try:
            return {notice: ""} | deed(*values)
        except Exception as error:  # the page's outermost border
            return {notice: said(error, deed)}

    return handler


def steadily(deed: Callable[..., Iterator[Updates]], notice: gr.HTML) -> Callable[..., Iterator[Updates]]:
    """`safely` for a deed that tells its news bit by bit. What went wrong comes with the last news once more: of two updates that
    follow at once a browser may draw only the second."""

    @functools.wraps(deed)
    def handler(*values: Any) -> Iterator[Updates]:
        news: Updates = {notice: ""}
        try:
            yield news
            for news in deed(*values):
                yield news
        except Exception as error:  # the page's outermost border
            yield news | {notice: said(error, deed)}

    return handler


def said(error: Exception, deed: Callable[..., Any]) -> str:
    if not isinstance(error, Problem):
        log.error("The page's %s broke", deed.__name__, exc_info=error)
    return notices.problem(explain(error))
